# small.sh - data that is the same on every machine, for scripts to read with `.`.

# small_text LINES: a text.
small_text() {
    i=0
    while [ $i -lt "$1" ]; do
        echo "line $i: the pawl keeps what the ratchet gained, $((i * i % 97)) and $((i * 7 % 31))"
        i=$((i + 1))
    done
}

# npy HEADER-SHAPE DESCR: a header of 128 bytes.
npy() {
    head=$(printf "{'descr': '%s', 'fortran_order': False, 'shape': %s, }" "$2" "$1")
    printf '\223NUMPY\001\000v\000%-117s\n' "$head"
}

# small_images TEXT: 96 images of 6 x 6 out of a text's bytes, x.npy, their classes, y.npy, and a
# network for them, cnn.json.
small_images() {
    cat > cnn.json <<'JSON'
{"pawl":1,"name":"tiny","loss":"cross-entropy","layers":[
{"name":"input","kind":"input","inputs":[],"config":{"shape":[6,6,1]}},
{"name":"c1","kind":"conv2d","inputs":["input"],
 "config":{"filters":8,"kernel":[3,3],"padding":"same","activation":"relu"}},
{"name":"p1","kind":"max_pool2d","inputs":["c1"],"config":{"size":[2,2]}},
{"name":"flat","kind":"flatten","inputs":["p1"],"config":{}},
{"name":"out","kind":"dense","inputs":["flat"],"config":{"units":5}}]}
JSON
    { npy '(96, 6, 6, 1)' '|u1'; head -c 3456 "$1"; } > x.npy
    { npy '(96,)' '|u1'
      i=0
      while [ $i -lt 96 ]; do printf "\\$(printf %03o $((i * 11 % 5)))"; i=$((i + 1)); done
    } > y.npy
}
