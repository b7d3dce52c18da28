#!/usr/bin/env python3
"""Writes tests/fuzz/seeds/: a few small inputs per target. Real files of tests/ are used beside them."""
import json
import os
import pickle
import struct
import zipfile
import zlib

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "seeds")


def put(target, name, data):
    os.makedirs(os.path.join(HERE, target), exist_ok=True)
    with open(os.path.join(HERE, target, name), "wb") as file:
        file.write(data)


def archive(members):
    """A zip archive whose CRCs are 0: "not computed", so that a mutation is read on."""
    body, central = b"", b""
    for name, data, deflated in members:
        pack = zlib.compressobj(9, zlib.DEFLATED, -15)
        packed = pack.compress(data) + pack.flush() if deflated else data
        fields = struct.pack("<HHHHHIIIHH", 20, 0, 8 * deflated, 0, 0, 0, len(packed), len(data), len(name), 0)
        central += b"PK\1\2\x14\0" + fields + struct.pack("<HHHII", 0, 0, 0, 0, len(body)) + name.encode()
        body += b"PK\3\4" + fields + name.encode() + packed
    return body + central + b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, len(members), len(members), len(central), len(body), 0)


def npy(descr, shape, data, fortran=False):
    head = "{'descr': '%s', 'fortran_order': %s, 'shape': %s, }\n" % (descr, fortran, shape)
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(head)) + head.encode() + data


put("zip", "two", archive([("a/x", b"hello", 0), ("a/y", b"abc" * 400, 1)]))
put("zip", "empty", archive([]))
put("npz", "lone", npy("<i2", "(3,)", b"\1\0\2\0\3\0"))
put("npz", "turned", archive([("a.npy", npy(">f4", "(2, 3)", bytes(range(24)), True), 1),
                              ("b.npy", npy("<c16", "()", bytes(16)), 0), ("c.npy", npy("|b1", "(0, 2)", b""), 1)]))
notes = json.dumps({"dtypes": {"a": "bfloat16"}, "metadata": {"k": [1, None]}}).encode()
put("npz", "notes", archive([("a.npy", npy("<u2", "(2,)", b"\x80\x3f\0\0"), 0),
                             ("pawl.json.npy", npy("|u1", "(%d,)" % len(notes), notes), 0)]))

# Pickles as torch writes them: a dict of tensors in storage 0, then modules, optimizers.
STORAGE = "(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0%sX\3\0\0\0cpuK\x40tQ"


def tensor(offset, shape, stride):
    numbers = lambda all: "(" + "".join("K" + chr(n) for n in all) + "t"
    return "ctorch._utils\n_rebuild_tensor_v2\n(" + STORAGE % "0" + "K" + chr(offset) + numbers(shape) + numbers(stride) + "\x89}tR"


def text(string):
    return "X" + "".join(chr(b) for b in struct.pack("<I", len(string))) + string


def made(body):
    return ("\x80\2" + body + ".").encode("latin1")


put("pickle", "state", made("}(" + text("a.weight") + tensor(0, (2, 3), (3, 1)) + text("a.bias") + tensor(6, (2, 2), (1, 2)) + "u"))
put("pickle", "checkpoint", made(
    "}(" + text("model_state_dict") + "}(" + text("w") + tensor(0, (4,), (1,)) + "u" + text("epoch") + "K\7"
    + text("optimizer_state_dict") + "}(" + text("state") + "}(K\0}(" + text("step") + tensor(0, (), ()) + text("exp_avg")
    + tensor(4, (4,), (1,)) + "uu" + text("param_groups") + "]}(" + text("lr") + "G?PbM\xd2\xf1\xa9\xfc" + text("betas")
    + "G?\xec\xcc\xcc\xcc\xcc\xcc\xcdG?\xef\xf7\xce\xd9\x16\x87+\x86" + text("params") + "](K\0eua" + "uu"))
put("pickle", "module", made(
    "ctorch.nn\nLinear\n)\x81}(" + text("_parameters") + "ccollections\nOrderedDict\n)R(" + text("weight") + tensor(0, (2, 2), (2, 1))
    + "u" + text("_buffers") + "}" + text("_modules") + "}" + text("training") + "\x88ub"))
put("pickle", "calls", made("}(" + text("x") + "cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(" + text("f8") + "\x89\x88tRU\x08" + "\0" * 8 + "tR"
                            + text("l") + "\x8a\x02\xff\x01" + text("s") + "\x8f(K\1K\2\x90" + "u" + "h\0" * 0))
for protocol in (0, 2, 4, 5):
    put("pickle", "plain%d" % protocol, pickle.dumps({"a": [1, 2.5, None, True, b"x", ("y", 1 << 70)], "b": {1, 2}}, protocol))

put("protobuf", "fields", b"\x08\x96\x01\x12\x07testing\x1d\1\2\3\4\x21\1\2\3\4\5\6\7\x08\x22\x06\x0a\x04\x08\x01\x10\x02")
put("snappy", "copies", b"\x0b\x08abc\x11\x03")
put("snappy", "long", b"\x40\xf0\x02xyz\xee\x03\0")
block = b"\0\0\2\x08\1\0\1\1a\0" + struct.pack("<II", 0, 1)
meta = struct.pack("<II", 0, 1)
index = b"\0\1\2b\0" + bytes([len(block)]) + struct.pack("<II", 0, 1)
body = block + b"\0" * 5 + meta + b"\0" * 5 + index + b"\0" * 5
place = lambda at, size: bytes([at, size])
footer = place(len(block) + 5, len(meta)) + place(len(block) + len(meta) + 10, len(index))
put("table", "plain", body + footer.ljust(40, b"\0") + b"\x57\xfb\x80\x8b\x24\x75\x47\xdb")

put("json", "all", b'{"a": [1, -2.5e3, true, false, null, "\\u00e9\\ud83d\\ude00\\n"], "b": {"c": {}}, "d": []}')
head = b'{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"BF16","shape":[1,1],"data_offsets":[8,10]}}'
put("safetensors", "two", struct.pack("<Q", len(head)) + head + bytes(10))


def field(number, value):
    if isinstance(value, int):
        return bytes([number << 3, value])
    return bytes([number << 3 | 2, len(value)]) + value


suffix = b"/.ATTRIBUTES/VARIABLE_VALUE"


def variable(name):
    return field(1, field(2, field(1, b"VARIABLE_VALUE") + field(2, name) + field(3, name + suffix)))


def edge(node, name):
    return field(1, field(1, node) + field(2, name))


graph = (field(1, edge(1, b"w") + edge(2, b"optimizer")) + variable(b"d/w")
         + field(1, edge(3, b"iter") + field(3, field(1, 1) + field(2, b"m") + field(3, 4))) + variable(b"it") + variable(b"d/w/m"))
entry = lambda dtype, dims, at, size: (field(1, dtype) + field(2, b"".join(field(2, field(1, d)) for d in dims)) + field(4, at) + field(5, size)
                                       + b"\x35\0\0\0\0")
start = len(graph) + 6
pair = lambda key, value: bytes([len(key)]) + key + bytes([len(value)]) + value
part = lambda data: struct.pack("<H", len(data)) + data
put("savedmodel", "one", part(field(2, field(1, field(5, b"2.15")))) + part(field(1, field(3, b"root") + field(5, b'{"class_name":"Sequential"}')))
    + part(graph) + part(bytes(64)) + pair(b"d/w" + suffix, field(1, 1) + field(2, field(2, field(1, 2))) + field(4, 8) + field(5, 8) + b"\x35\0\0\0\0")
    + pair(b"d/w/m" + suffix, entry(1, [2], 16, 8)) + pair(b"it" + suffix, entry(9, [], 24, 8)))

layers = [{"class_name": "InputLayer", "config": {"name": "i", "batch_shape": [None, 4]}},
          {"class_name": "Dense", "config": {"name": "d", "units": 2, "activation": "relu", "use_bias": True}},
          {"class_name": "Reshape", "config": {"name": "r", "target_shape": [2, 1]}},
          {"class_name": "GRU", "config": {"name": "g", "units": 2, "return_sequences": True}},
          {"class_name": "Conv1D", "config": {"name": "c", "filters": 2, "kernel_size": [2], "padding": "causal", "dilation_rate": [1]}},
          {"class_name": "Permute", "config": {"name": "p", "dims": [2, 1]}}]
model = {"class_name": "Sequential", "config": {"name": "s", "layers": layers},
         "compile_config": {"optimizer": {"class_name": "Adam", "config": {"learning_rate": 0.1}}, "loss": "mse"}}
put("keras", "sequential", archive([("config.json", json.dumps(model).encode(), 0), ("model.weights.h5", b"", 0)]))
call = lambda name: [{"args": [{"class_name": "__keras_tensor__", "config": {"keras_history": [name, 0, 0]}}], "kwargs": {}}]
layers = [dict(layers[0], name="i", inbound_nodes=[]), dict(layers[1], name="d", inbound_nodes=call("i"))]
model = {"class_name": "Functional", "config": {"name": "f", "layers": layers, "output_layers": [["d", 0, 0]]}}
put("keras", "functional", archive([("config.json", json.dumps(model).encode(), 0), ("model.weights.h5", b"", 0)]))
