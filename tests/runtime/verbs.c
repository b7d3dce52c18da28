// verbs.c - the command's verbs about model files, run as a user runs them: what they print, where,
// and their exit codes. Those about runs: verbs_run.c.

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "verbs_support.h"

TestSuite(verbs, .init = verb_start, .timeout = 120);

// ---- inspect

Test(verbs, inspect_tells_the_three_parts_apart)
{
    verb_expect(0, "inspect r");
    verb_said(verb_out, "ARCHITECTURE  mlp, 3 layers, 43 parameters, loss cross-entropy");
    verb_said(verb_out, "fc1    dense  [5]  units 5, bias, relu");
    verb_said(verb_out, "WEIGHTS  4 tensors, 43 parameters, 172 B");
    verb_said(verb_out, "fc2.weight  float32  [3, 5]");
    verb_said(verb_out, "TRAINING STATE  step 8");
    verb_said(verb_out, "optimizer.exp_avg     4 tensors");
    verb_said(verb_out, "METADATA  1 entry");
    verb_expect(0, "inspect mlp:4-5-3");
    verb_said(verb_out, "WEIGHTS  absent");
    verb_said(verb_out, "TRAINING STATE  absent");
    verb_expect(0, "convert r w.safetensors --only weights");
    verb_expect(0, "inspect w.safetensors");
    verb_said(verb_out, "ARCHITECTURE  absent");
    verb_said(verb_out, "TRAINING STATE  absent");
}

Test(verbs, inspect_names_a_few_files_of_data)
{
    verb_expect(0, "inspect r");
    verb_said(verb_out, "files x.npy, y.npy, ");
    cr_assert_eq(system("mkdir t; for i in 1 2 3 4 5 6; do cp .out t/$i.txt; done"), 0);
    cr_assert_eq(verb_run("train gpt:layers=1,heads=1,width=8,context=16 --data text:t --out g "
                          "--steps 1 --batch 1 --json"), 0, "%s", verb_err);
    verb_expect(0, "inspect g");
    verb_said(verb_out, "1.txt, ");
    verb_said(verb_out, "3.txt and 3 more, ");
    cr_assert(!strstr(verb_out, "4.txt"));
}

Test(verbs, inspect_json_has_the_agreed_fields)
{
    verb_expect_json("inspect r --json");
    cr_assert_str_eq(json_string_value(verb_at(verb_json, "format")), "pawl");
    cr_assert(json_is_string(verb_at(verb_json, "format_version")));
    cr_assert_str_eq(json_string_value(verb_at(verb_json, "architecture.layers.1.name")), "fc1");
    cr_assert_str_eq(json_string_value(verb_at(verb_json, "architecture.layers.1.kind")), "dense");
    cr_assert_eq(verb_number("architecture.layers.1.config.units"), 5);
    cr_assert_eq(verb_number("weights.count"), 4);
    cr_assert_eq(verb_number("weights.params"), 43);
    cr_assert_eq(verb_number("weights.bytes"), 172);
    cr_assert_eq(json_array_size(verb_at(verb_json, "weights.tensors")), 4);
    cr_assert_str_eq(json_string_value(verb_at(verb_json, "weights.tensors.0.dtype")), "float32");
    cr_assert_null(json_object_get(verb_at(verb_json, "weights.tensors.0"), "crc32"));
    cr_assert_eq(verb_number("training.step"), 8);
    cr_assert_eq(json_array_size(verb_at(verb_json, "training.tensors")), 8);
    cr_assert_str_eq(json_string_value(verb_at(verb_json, "training.optimizer.kind")), "adamw");
    cr_assert(json_is_number(verb_at(verb_json, "training.loss")));
    cr_assert_str_eq(json_string_value(verb_at(verb_json, "metadata.who")), "me");
    cr_assert_eq(json_array_size(verb_at(verb_json, "warnings")), 0);

    verb_expect_json("inspect mlp:4-5-3 --json");
    cr_assert(json_is_null(verb_at(verb_json, "training")));
    cr_assert_eq(verb_number("weights.count"), 0);
    verb_expect(0, "convert r w.safetensors --only weights");
    verb_expect_json("inspect w.safetensors --json");
    cr_assert(json_is_null(verb_at(verb_json, "architecture")));
}

Test(verbs, inspect_crc_and_stats_are_right)
{
    verb_write_known("k.safetensors");
    verb_expect_json("inspect k.safetensors --json --crc --stats");
    // zlib.crc32(b"\0" * 7 + b"\x80\0\0\xc0?\0\0\xc0\x7f") is what any other tool says too.
    cr_assert_str_eq(json_string_value(verb_at(verb_json, "weights.tensors.0.crc32")), "b337c11a");
    cr_assert_float_eq(json_real_value(verb_at(verb_json, "weights.tensors.0.min")), 0, 0);
    cr_assert_float_eq(json_real_value(verb_at(verb_json, "weights.tensors.0.max")), 1.5, 0);
    cr_assert_float_eq(json_real_value(verb_at(verb_json, "weights.tensors.0.mean")), 0.5, 0);
    cr_assert_eq(verb_number("weights.tensors.0.zeros"), 2);
    cr_assert_eq(verb_number("weights.tensors.0.nan"), 1);
    cr_assert_eq(verb_number("weights.tensors.0.inf"), 0);
}

Test(verbs, inspect_chooses_by_pattern)
{
    verb_expect_json("inspect r 'fc1.*' --json");
    cr_assert_eq(json_array_size(verb_at(verb_json, "weights.tensors")), 2);
    cr_assert_eq(json_array_size(verb_at(verb_json, "training.tensors")), 0);
    verb_expect_json("inspect r '*fc1.bias' --json");
    cr_assert_eq(json_array_size(verb_at(verb_json, "training.tensors")), 2);
    verb_expect(66, "inspect r fc1.wieght");
    verb_said(verb_err, "did you mean 'fc1.weight'");
}

Test(verbs, inspect_fits_a_narrow_terminal)
{
    // script makes a terminal; 40 columns, and no line may be longer.
    if (system("command -v script >/dev/null")) cr_skip_test("no script(1) here");
    const int status = system("script -qec 'stty cols 40; LC_ALL=C.UTF-8 TERM=dumb \"$PAWL\" "
                              "inspect r' /dev/null </dev/null >.out 2>.err");
    verb_slurp(".out", verb_out);
    cr_assert_eq(status, 0, "%s", verb_out);
    verb_said(verb_out, "WEIGHTS");
    for (const char *line = strtok(verb_out, "\r\n"); line; line = strtok(NULL, "\r\n")) {
        int columns = 0;
        for (const char *c = line; *c; c++)
            columns += ((unsigned char)*c & 0xc0) != 0x80;
        cr_assert_leq(columns, 40, "%s", line);
    }
}

// ---- diff

Test(verbs, diff_of_the_same_is_nothing)
{
    verb_expect(0, "diff r r");
    verb_said(verb_out, "identical: 12 tensors, 516 bytes");
    verb_expect_json("diff r r --json");
    cr_assert(json_is_true(verb_at(verb_json, "identical")));
    cr_assert_eq(verb_number("identical_tensors"), 12);
    verb_expect(0, "convert r w.safetensors --only weights");
    verb_expect(0, "diff w.safetensors r");
    verb_said(verb_out, "identical: 4 tensors, 172 bytes");
    verb_said(verb_out, "not compared: architecture (only in B), training state (only in B)");
}

Test(verbs, diff_counts_and_measures)
{
    char line[400];

    verb_write_known("a.safetensors");
    verb_write_known("b.safetensors");
    verb_flip("b.safetensors", -6);  // 1.5 becomes 1.5078125
    verb_expect(1, "diff a.safetensors b.safetensors");
    verb_said(verb_out, "a  1 of 4 elements differ, by at most 0.0078125");
    verb_said(verb_out, "different: 1 tensor; 0 are the same");
    cr_assert_not(strstr(verb_out, "identical"));
    cr_assert_eq(verb_run("diff a.safetensors b.safetensors --json"), 1);
    verb_said(verb_out, "\"max_abs_difference\": 0.0078125");
    verb_said(verb_out, "\"identical\": false");

    snprintf(line, sizeof(line), "diff %s r", verb_snapshot(2));
    verb_expect(1, line);
    verb_said(verb_out, "step: A 2, B 8");
    verb_expect(0, "convert r h.safetensors --only weights --dtype bf16");
    verb_expect(1, "diff r h.safetensors");
    verb_said(verb_out, "B: bfloat16");
    verb_expect(1, "diff mlp:4-5-3 mlp:4-6-3");
    verb_said(verb_out, "'fc1.weight' [5, 4] in A");
    verb_expect(66, "diff r nothing");
    verb_expect(64, "diff r");
}

// ---- convert

Test(verbs, convert_says_what_is_dropped)
{
    cr_assert_eq(verb_run("convert r w.safetensors"), 0);
    verb_said(verb_err, "dropped: architecture, training state (safetensors carries weights "
                        "only)\n");
    cr_assert_eq(verb_run("convert r s.safetensors --strict"), 65);
    cr_assert_neq(access("s.safetensors", F_OK), 0);
    verb_expect(0, "convert r only.safetensors --only weights --strict");
    verb_expect(0, "convert r m.json --only architecture");
    verb_expect(0, "diff m.json mlp:4-5-3");
    verb_expect(65, "convert w.safetensors m2.json");
    verb_expect(65, "convert w.safetensors m2.json --only architecture");
    verb_said(verb_err, "holds no architecture");
    verb_expect(65, "convert m.json m.safetensors");
}

Test(verbs, convert_there_and_back)
{
    cr_assert_eq(verb_run("convert r w.safetensors"), 0);
    verb_expect(0, "convert w.safetensors r2 --to pawl --arch mlp:4-5-3");
    verb_expect(0, "diff r r2");
    verb_expect(0, "verify r2");
    verb_expect(0, "convert r r3 --to pawl");
    verb_expect(0, "diff r r3");
    verb_said(verb_out, "identical: 12 tensors");
    cr_assert_eq(verb_run("train r3 --data npy:x.npy,y.npy --out r3 --steps 10 --batch 8 "
                          "--json"), 0,
                 "%s", verb_err);
    verb_said(verb_out, "\"resumed_from\":8");
    verb_expect(65, "convert w.safetensors r4 --to pawl --arch mlp:4-6-3");
    verb_said(verb_err, "tensor 'fc1.weight' is float32 [6, 4] in the model and float32 [5, 4] in "
                        "the file");
    cr_assert_neq(access("r4", F_OK), 0);
}

Test(verbs, convert_never_overwrites_unasked)
{
    verb_write_known("k.safetensors");
    verb_expect(73, "convert k.safetensors x.npy --to safetensors");
    verb_expect(73, "convert k.safetensors no/where.safetensors");
    verb_expect(0, "convert k.safetensors x.npy --to safetensors --force");
    verb_expect(0, "diff k.safetensors x.npy");
    verb_expect(64, "convert k.safetensors out.bin");
    verb_said(verb_err, "--to");
    verb_expect(64, "convert k.safetensors out --to safetensor");
    verb_said(verb_err, "did you mean 'safetensors'");
    verb_expect(66, "convert nothing out.safetensors");
}

Test(verbs, convert_refuses_bytes_that_were_not_written)
{
    verb_flip(verb_file(8, "shard-00000.safetensors"), -1);
    cr_assert_eq(verb_run("convert r w.safetensors"), 65);
    verb_said(verb_err, "shard-00000.safetensors");
    cr_assert_neq(access("w.safetensors", F_OK), 0);
}
