// verbs.c - the command's verbs about model files, run as a user runs them: what they print, where,
// and their exit codes.

#include <criterion/criterion.h>
#include <dirent.h>
#include <ftw.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SAID_MAX = 1 << 18 };

static char out[SAID_MAX], err[SAID_MAX];
static json_t *json;

// ---- running

static char directory[64];

static int delete(const char *path, const struct stat *of, int type, struct FTW *at)
{
    (void)of, (void)type, (void)at;
    return remove(path);
}

static void clean(void)
{
    json_decref(json);
    nftw(directory, delete, 8, FTW_DEPTH | FTW_PHYS);
}

static void slurp(const char *path, char *to)
{
    FILE *file = fopen(path, "rb");
    const size_t size = fread(to, 1, SAID_MAX - 1, file);

    to[size] = 0;
    fclose(file);
}

// Runs `pawl ARGUMENTS` by the shell in the scratch directory; its exit code.
static int run(const char *arguments)
{
    char line[4096];

    snprintf(line, sizeof(line), "\"$PAWL\" %s >.out 2>.err </dev/null", arguments);
    const int status = system(line);
    slurp(".out", out);
    slurp(".err", err);
    cr_assert(WIFEXITED(status), "%s was killed", arguments);
    return WEXITSTATUS(status);
}

static void expect(int wanted, const char *arguments)
{
    const int status = run(arguments);

    cr_assert_eq(status, wanted, "pawl %s: exit %d, not %d\n%s%s", arguments, status, wanted, out,
                 err);
    if (wanted == 0) cr_assert_str_empty(err, "pawl %s said: %s", arguments, err);
    if (wanted > 1) cr_assert_eq(strncmp(err, "pawl: ", 6), 0, "pawl %s said: %s", arguments, err);
}

static void said(const char *where, const char *words)
{
    cr_assert(strstr(where, words), "no '%s' in:\n%s", words, where);
}

static void expect_json(const char *arguments)
{
    json_error_t error;

    expect(0, arguments);
    json_decref(json);
    json = json_loads(out, JSON_REJECT_DUPLICATES, &error);
    cr_assert_not_null(json, "pawl %s: %s\n%s", arguments, error.text, out);
}

static json_t *at(json_t *value, const char *path)
{
    char words[256], *rest = words;

    snprintf(words, sizeof(words), "%s", path);
    for (char *part = strsep(&rest, "."); part; part = strsep(&rest, "."))
        value = json_is_array(value) ? json_array_get(value, (size_t)atoi(part))
                                     : json_object_get(value, part);
    cr_assert_not_null(value, "no %s in %s", path, out);
    return value;
}

static int64_t number(const char *path)
{
    return (int64_t)json_integer_value(at(json, path));
}

// ---- a run of four snapshots: steps 2, 4, 6, 8

static void write_npy(const char *path, const char *shape, const char *bytes, size_t size)
{
    FILE *file = fopen(path, "wb");
    char head[128];

    snprintf(head, sizeof(head), "{'descr': '|u1', 'fortran_order': False, 'shape': %s, }", shape);
    fprintf(file, "\x93NUMPY%c%cv%c%-117s\n", 1, 0, 0, head);
    fwrite(bytes, 1, size, file);
    fclose(file);
}

static void start(void)
{
    const char *pawl = getenv("PAWL");
    char x[64 * 4], y[64];

    cr_assert_not_null(pawl, "PAWL must name the binary");
    snprintf(directory, sizeof(directory), "/tmp/pawl-verbs-XXXXXX");
    cr_assert_not_null(mkdtemp(directory));
    cr_assert_eq(chdir(directory), 0);
    atexit(clean);
    for (size_t i = 0; i < sizeof(x); i++)
        x[i] = (char)(i * 7 % 251);
    for (size_t i = 0; i < sizeof(y); i++)
        y[i] = (char)(i % 3);
    write_npy("x.npy", "(64, 4)", x, sizeof(x));
    write_npy("y.npy", "(64,)", y, sizeof(y));
    cr_assert_eq(run("train mlp:4-5-3 --data npy:x.npy,y.npy --out r --steps 8 --save-every 2 "
                     "--save-mode sync --keep latest=9 --batch 8 --meta who='\"me\"' --json"), 0,
                 "%s", err);
}

// The directory of a step of run r.
static const char *snapshot(int step)
{
    static char path[300];
    DIR *listing = opendir("r");
    const struct dirent *entry;
    char prefix[32];

    snprintf(prefix, sizeof(prefix), "step-%016x-", step);
    path[0] = 0;
    while ((entry = readdir(listing)))
        if (strncmp(entry->d_name, prefix, strlen(prefix)) == 0)
            snprintf(path, sizeof(path), "r/%.200s", entry->d_name);
    closedir(listing);
    cr_assert(path[0], "no step %d", step);
    return path;
}

static const char *file_of(int step, const char *name)
{
    static char path[400];

    snprintf(path, sizeof(path), "%s/%s", snapshot(step), name);
    return path;
}

static void flip(const char *path, long offset)
{
    FILE *file = fopen(path, "r+b");

    cr_assert_not_null(file, "%s", path);
    fseek(file, offset, offset < 0 ? SEEK_END : SEEK_SET);
    const int c = fgetc(file);
    fseek(file, -1, SEEK_CUR);
    fputc(c ^ 1, file);
    fclose(file);
}

TestSuite(verbs, .init = start, .timeout = 120);

// ---- inspect

Test(verbs, inspect_tells_the_three_parts_apart)
{
    expect(0, "inspect r");
    said(out, "ARCHITECTURE  mlp, 3 layers, 43 parameters, loss cross-entropy");
    said(out, "fc1    dense  [5]  units 5, bias, relu");
    said(out, "WEIGHTS  4 tensors, 43 parameters, 172 B");
    said(out, "fc2.weight  float32  [3, 5]");
    said(out, "TRAINING STATE  step 8");
    said(out, "optimizer.exp_avg     4 tensors");
    said(out, "METADATA  1 entry");
    expect(0, "inspect mlp:4-5-3");
    said(out, "WEIGHTS  absent");
    said(out, "TRAINING STATE  absent");
    expect(0, "convert r w.safetensors --only weights");
    expect(0, "inspect w.safetensors");
    said(out, "ARCHITECTURE  absent");
    said(out, "TRAINING STATE  absent");
}

Test(verbs, inspect_json_has_the_agreed_fields)
{
    expect_json("inspect r --json");
    cr_assert_str_eq(json_string_value(at(json, "format")), "pawl");
    cr_assert(json_is_string(at(json, "format_version")));
    cr_assert_str_eq(json_string_value(at(json, "architecture.layers.1.name")), "fc1");
    cr_assert_str_eq(json_string_value(at(json, "architecture.layers.1.kind")), "dense");
    cr_assert_eq(number("architecture.layers.1.config.units"), 5);
    cr_assert_eq(number("weights.count"), 4);
    cr_assert_eq(number("weights.params"), 43);
    cr_assert_eq(number("weights.bytes"), 172);
    cr_assert_eq(json_array_size(at(json, "weights.tensors")), 4);
    cr_assert_str_eq(json_string_value(at(json, "weights.tensors.0.dtype")), "float32");
    cr_assert_null(json_object_get(at(json, "weights.tensors.0"), "crc32"));
    cr_assert_eq(number("training.step"), 8);
    cr_assert_eq(json_array_size(at(json, "training.tensors")), 8);
    cr_assert_str_eq(json_string_value(at(json, "training.optimizer.kind")), "adamw");
    cr_assert(json_is_number(at(json, "training.loss")));
    cr_assert_str_eq(json_string_value(at(json, "metadata.who")), "me");
    cr_assert_eq(json_array_size(at(json, "warnings")), 0);

    expect_json("inspect mlp:4-5-3 --json");
    cr_assert(json_is_null(at(json, "training")));
    cr_assert_eq(number("weights.count"), 0);
    expect(0, "convert r w.safetensors --only weights");
    expect_json("inspect w.safetensors --json");
    cr_assert(json_is_null(at(json, "architecture")));
}

// Four known floats: 0, -0, 1.5, NaN.
static void write_known(const char *path)
{
    static const char header[] = "{\"a\":{\"dtype\":\"F32\",\"shape\":[4],"
                                 "\"data_offsets\":[0,16]}}";
    static const unsigned char data[] = { 0, 0, 0, 0, 0, 0, 0, 0x80, 0, 0, 0xc0, 0x3f, 0, 0, 0xc0,
                                          0x7f };
    const char length[8] = { sizeof(header) - 1 };
    FILE *file = fopen(path, "wb");

    fwrite(length, 1, 8, file);
    fwrite(header, 1, sizeof(header) - 1, file);
    fwrite(data, 1, sizeof(data), file);
    fclose(file);
}

Test(verbs, inspect_crc_and_stats_are_right)
{
    write_known("k.safetensors");
    expect_json("inspect k.safetensors --json --crc --stats");
    // zlib.crc32(b"\0" * 7 + b"\x80\0\0\xc0?\0\0\xc0\x7f") is what any other tool says too.
    cr_assert_str_eq(json_string_value(at(json, "weights.tensors.0.crc32")), "b337c11a");
    cr_assert_float_eq(json_real_value(at(json, "weights.tensors.0.min")), 0, 0);
    cr_assert_float_eq(json_real_value(at(json, "weights.tensors.0.max")), 1.5, 0);
    cr_assert_float_eq(json_real_value(at(json, "weights.tensors.0.mean")), 0.5, 0);
    cr_assert_eq(number("weights.tensors.0.zeros"), 2);
    cr_assert_eq(number("weights.tensors.0.nan"), 1);
    cr_assert_eq(number("weights.tensors.0.inf"), 0);
}

Test(verbs, inspect_chooses_by_pattern)
{
    expect_json("inspect r 'fc1.*' --json");
    cr_assert_eq(json_array_size(at(json, "weights.tensors")), 2);
    cr_assert_eq(json_array_size(at(json, "training.tensors")), 0);
    expect_json("inspect r '*fc1.bias' --json");
    cr_assert_eq(json_array_size(at(json, "training.tensors")), 2);
    expect(66, "inspect r fc1.wieght");
    said(err, "did you mean 'fc1.weight'");
}

Test(verbs, inspect_fits_a_narrow_terminal)
{
    // script makes a terminal; 40 columns, and no line may be longer.
    if (system("command -v script >/dev/null")) cr_skip_test("no script(1) here");
    const int status = system("script -qec 'stty cols 40; LC_ALL=C.UTF-8 TERM=dumb \"$PAWL\" "
                              "inspect r' /dev/null </dev/null >.out 2>.err");
    slurp(".out", out);
    cr_assert_eq(status, 0, "%s", out);
    said(out, "WEIGHTS");
    for (const char *line = strtok(out, "\r\n"); line; line = strtok(NULL, "\r\n")) {
        int columns = 0;
        for (const char *c = line; *c; c++)
            columns += ((unsigned char)*c & 0xc0) != 0x80;
        cr_assert_leq(columns, 40, "%s", line);
    }
}

// ---- diff

Test(verbs, diff_of_the_same_is_nothing)
{
    expect(0, "diff r r");
    said(out, "identical: 12 tensors, 516 bytes");
    expect_json("diff r r --json");
    cr_assert(json_is_true(at(json, "identical")));
    cr_assert_eq(number("identical_tensors"), 12);
    expect(0, "convert r w.safetensors --only weights");
    expect(0, "diff w.safetensors r");
    said(out, "identical: 4 tensors, 172 bytes");
    said(out, "not compared: architecture (only in B), training state (only in B)");
}

Test(verbs, diff_counts_and_measures)
{
    char line[400];

    write_known("a.safetensors");
    write_known("b.safetensors");
    flip("b.safetensors", -6);  // 1.5 becomes 1.5078125
    expect(1, "diff a.safetensors b.safetensors");
    said(out, "a  1 of 4 elements differ, by at most 0.0078125");
    said(out, "different: 1 tensor; 0 are the same");
    cr_assert_not(strstr(out, "identical"));
    cr_assert_eq(run("diff a.safetensors b.safetensors --json"), 1);
    said(out, "\"max_abs_difference\": 0.0078125");
    said(out, "\"identical\": false");

    snprintf(line, sizeof(line), "diff %s r", snapshot(2));
    expect(1, line);
    said(out, "step: A 2, B 8");
    expect(0, "convert r h.safetensors --only weights --dtype bf16");
    expect(1, "diff r h.safetensors");
    said(out, "B: bfloat16");
    expect(1, "diff mlp:4-5-3 mlp:4-6-3");
    said(out, "'fc1.weight' [5, 4] in A");
    expect(66, "diff r nothing");
    expect(64, "diff r");
}

// ---- verify

Test(verbs, verify_reads_every_byte_of_a_run)
{
    char line[400];

    expect(0, "verify r");
    said(out, "4 whole, 0 damaged");
    expect_json("verify r --json");
    cr_assert(json_is_true(at(json, "ok")));
    flip(file_of(4, "shard-00000.safetensors"), -1);
    expect(65, "verify r");
    said(out, "3 whole, 1 damaged");
    said(out, "shard-00000.safetensors");
    said(err, "shard-00000.safetensors");
    cr_assert_eq(run("verify r --json"), 65);
    said(out, "\"ok\": false");
    snprintf(line, sizeof(line), "verify %s", snapshot(4));
    expect(65, line);
    snprintf(line, sizeof(line), "verify %s", snapshot(6));
    expect(0, line);
}

Test(verbs, verify_tells_uncommitted_from_damaged)
{
    char line[400];

    cr_assert_eq(remove(file_of(8, "MANIFEST")), 0);
    expect(0, "verify r");
    said(out, "3 whole, 0 damaged, 0 unreadable, 1 uncommitted");
    snprintf(line, sizeof(line), "verify %s", snapshot(8));
    expect(65, line);
    said(err, "never committed");
    for (int step = 2; step < 8; step += 2)
        cr_assert_eq(remove(file_of(step, "MANIFEST")), 0);
    expect(66, "verify r");
}

Test(verbs, verify_tells_unreadable_from_damaged)
{
    // A disk that refuses says nothing about the bytes of the snapshot.
    char line[1024];

    if (system("command -v strace >/dev/null")) cr_skip_test("no strace here");
    // LeakSanitizer cannot work beside strace; the other calls of verify have it.
    snprintf(line, sizeof(line), "ASAN_OPTIONS=abort_on_error=1:detect_leaks=0 "
             "strace -qq -o /dev/null -P %s -e trace=openat -e "
             "inject=openat:error=EIO \"$PAWL\" verify r >.out 2>.err", file_of(4, "MANIFEST"));
    const int status = system(line);
    slurp(".out", out);
    slurp(".err", err);
    cr_assert_eq(WEXITSTATUS(status), 74, "%d\n%s%s", WEXITSTATUS(status), out, err);
    said(out, "3 whole, 0 damaged, 1 unreadable");
    said(err, "unreadable");
}

Test(verbs, verify_takes_files_and_refuses_what_is_none)
{
    write_known("k.safetensors");
    expect(0, "verify k.safetensors");
    cr_assert_eq(truncate("k.safetensors", 60), 0);
    expect(65, "verify k.safetensors");
    said(err, "truncated");
    cr_assert_eq(mkfifo("fifo", 0600), 0);
    expect(65, "verify fifo");
    expect(65, "verify /dev/null");
    cr_assert_eq(system("echo words > words.txt"), 0);
    expect(65, "verify words.txt");  // no model
    expect(66, "verify nothing");
    cr_assert_eq(mkdir("empty", 0700), 0);
    expect(66, "verify empty");
}

// ---- ckpt

Test(verbs, ckpt_ls_lists_newest_first)
{
    expect_json("ckpt ls r --json");
    cr_assert_eq(json_array_size(json), 4);
    cr_assert_eq(number("0.step"), 8);
    cr_assert_eq(number("3.step"), 2);
    cr_assert_str_eq(json_string_value(at(json, "0.state")), "durable");
    cr_assert_eq(number("0.ranks"), 1);
    cr_assert(json_is_false(at(json, "0.pinned")));
    cr_assert_gt(number("0.bytes"), 516);
    cr_assert_str_eq(json_string_value(at(json, "0.path")), snapshot(8));

    flip(file_of(6, "shard-00000.safetensors"), -1);
    expect_json("ckpt ls r --json");
    cr_assert_str_eq(json_string_value(at(json, "1.state")), "durable");
    expect_json("ckpt ls r --json --verify");
    cr_assert_str_eq(json_string_value(at(json, "1.state")), "damaged");
    expect(0, "ckpt ls r");
    said(out, "durable");
    expect(66, "ckpt ls nothing");
    expect(66, "ckpt ls x.npy");
    expect(64, "ckpt lst r");
    said(err, "did you mean 'ls'");
}

Test(verbs, ckpt_show_one)
{
    expect(0, "ckpt show r");
    said(out, "step    8");
    expect_json("ckpt show r 4 --json");
    cr_assert_eq(number("step"), 4);
    expect(66, "ckpt show r 5");
    expect(64, "ckpt show r four");
    for (int step = 2; step <= 8; step += 2)
        cr_assert_eq(remove(file_of(step, "MANIFEST")), 0);
    expect(66, "ckpt show r");
    said(err, "no durable snapshot");
}

static int64_t steps_left(void)
{
    expect_json("ckpt ls r --json");
    return (int64_t)json_array_size(json);
}

Test(verbs, ckpt_prune_and_rm_ask_first)
{
    expect(0, "ckpt prune r --keep latest=2 --dry-run");
    said(out, "would remove 2 snapshots");
    cr_assert_eq(steps_left(), 4);
    expect(64, "ckpt prune r --keep latest=2");
    said(err, "try: -y");
    cr_assert_eq(steps_left(), 4);
    expect(64, "ckpt prune r --keep latest=1 -y");
    expect(0, "ckpt prune r --keep latest=3 -y");
    cr_assert_eq(steps_left(), 3);
    expect_json("ckpt rm r 4 --json --dry-run");
    cr_assert(json_is_true(at(json, "dry_run")));
    cr_assert_eq(number("removed.0.step"), 4);
    cr_assert_eq(steps_left(), 3);
    expect(66, "ckpt rm r 2 -y");
    expect(64, "ckpt rm r -y");
    expect(0, "ckpt rm r 4 -y");
    cr_assert_eq(steps_left(), 2);
    expect(0, "verify r");
}

Test(verbs, ckpt_pins_hold)
{
    expect(0, "ckpt pin r 2");
    expect_json("ckpt ls r --json");
    cr_assert(json_is_true(at(json, "3.pinned")));
    expect(64, "ckpt rm r 2 -y");
    said(err, "unpin");
    expect(0, "ckpt prune r --keep latest=2 -y");
    cr_assert_eq(steps_left(), 3);
    expect(0, "ckpt unpin r 2");
    // A pinned one among several: none of them is removed.
    expect(0, "ckpt pin r 6");
    expect(64, "ckpt rm r 2 6 -y");
    cr_assert_eq(steps_left(), 3);
    expect(0, "ckpt rm r 2 -y");
    cr_assert_eq(steps_left(), 2);
    expect(66, "ckpt pin r 2");
}

// ---- convert

Test(verbs, convert_says_what_is_dropped)
{
    cr_assert_eq(run("convert r w.safetensors"), 0);
    said(err, "dropped: architecture, training state (safetensors carries weights only)\n");
    cr_assert_eq(run("convert r s.safetensors --strict"), 65);
    cr_assert_neq(access("s.safetensors", F_OK), 0);
    expect(0, "convert r only.safetensors --only weights --strict");
    expect(0, "convert r m.json --only architecture");
    expect(0, "diff m.json mlp:4-5-3");
    expect(65, "convert w.safetensors m2.json");
    expect(65, "convert w.safetensors m2.json --only architecture");
    said(err, "holds no architecture");
    expect(65, "convert m.json m.safetensors");
}

Test(verbs, convert_there_and_back)
{
    cr_assert_eq(run("convert r w.safetensors"), 0);
    expect(0, "convert w.safetensors r2 --to pawl --arch mlp:4-5-3");
    expect(0, "diff r r2");
    expect(0, "verify r2");
    expect(0, "convert r r3 --to pawl");
    expect(0, "diff r r3");
    said(out, "identical: 12 tensors");
    cr_assert_eq(run("train r3 --data npy:x.npy,y.npy --out r3 --steps 10 --batch 8 --json"), 0,
                 "%s", err);
    said(out, "\"resumed_from\":8");
    expect(65, "convert w.safetensors r4 --to pawl --arch mlp:4-6-3");
    said(err, "tensor 'fc1.weight' is float32 [6, 4] in the model and float32 [5, 4] in the file");
    cr_assert_neq(access("r4", F_OK), 0);
}

Test(verbs, convert_never_overwrites_unasked)
{
    write_known("k.safetensors");
    expect(73, "convert k.safetensors x.npy --to safetensors");
    expect(73, "convert k.safetensors no/where.safetensors");
    expect(0, "convert k.safetensors x.npy --to safetensors --force");
    expect(0, "diff k.safetensors x.npy");
    expect(64, "convert k.safetensors out.bin");
    said(err, "--to");
    expect(64, "convert k.safetensors out --to safetensor");
    said(err, "did you mean 'safetensors'");
    expect(66, "convert nothing out.safetensors");
}

Test(verbs, convert_refuses_bytes_that_were_not_written)
{
    flip(file_of(8, "shard-00000.safetensors"), -1);
    cr_assert_eq(run("convert r w.safetensors"), 65);
    said(err, "shard-00000.safetensors");
    cr_assert_neq(access("w.safetensors", F_OK), 0);
}
