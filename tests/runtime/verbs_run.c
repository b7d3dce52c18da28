// verbs_run.c - the command's verbs about runs and their snapshots, run as a user runs them.

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "verbs_support.h"

TestSuite(verbs_run, .init = verb_start, .timeout = 120);

// ---- verify

Test(verbs_run, verify_reads_every_byte_of_a_run)
{
    char line[400];

    verb_expect(0, "verify r");
    verb_said(verb_out, "4 whole, 0 damaged");
    verb_expect_json("verify r --json");
    cr_assert(json_is_true(verb_at(verb_json, "ok")));
    verb_flip(verb_file(4, "shard-00000.safetensors"), -1);
    verb_expect(65, "verify r");
    verb_said(verb_out, "3 whole, 1 damaged");
    verb_said(verb_out, "shard-00000.safetensors");
    verb_said(verb_err, "shard-00000.safetensors");
    cr_assert_eq(verb_run("verify r --json"), 65);
    verb_said(verb_out, "\"ok\": false");
    snprintf(line, sizeof(line), "verify %s", verb_snapshot(4));
    verb_expect(65, line);
    snprintf(line, sizeof(line), "verify %s", verb_snapshot(6));
    verb_expect(0, line);
}

Test(verbs_run, verify_tells_uncommitted_from_damaged)
{
    char line[400];

    cr_assert_eq(remove(verb_file(8, "MANIFEST")), 0);
    verb_expect(0, "verify r");
    verb_said(verb_out, "3 whole, 0 damaged, 0 unreadable, 1 uncommitted");
    snprintf(line, sizeof(line), "verify %s", verb_snapshot(8));
    verb_expect(65, line);
    verb_said(verb_err, "never committed");
    for (int step = 2; step < 8; step += 2)
        cr_assert_eq(remove(verb_file(step, "MANIFEST")), 0);
    verb_expect(66, "verify r");
}

Test(verbs_run, verify_tells_unreadable_from_damaged)
{
    // A disk that refuses says nothing about the bytes of the snapshot.
    char line[1024];

    if (system("command -v strace >/dev/null")) cr_skip_test("no strace here");
    // LeakSanitizer cannot work beside strace; the other calls of verify have it.
    snprintf(line, sizeof(line), "ASAN_OPTIONS=abort_on_error=1:detect_leaks=0 "
             "strace -qq -o /dev/null -P %s -e trace=openat -e "
             "inject=openat:error=EIO \"$PAWL\" verify r >.out 2>.err", verb_file(4, "MANIFEST"));
    const int status = system(line);
    verb_slurp(".out", verb_out);
    verb_slurp(".err", verb_err);
    cr_assert_eq(WEXITSTATUS(status), 74, "%d\n%s%s", WEXITSTATUS(status), verb_out, verb_err);
    verb_said(verb_out, "3 whole, 0 damaged, 1 unreadable");
    verb_said(verb_err, "unreadable");
}

Test(verbs_run, verify_takes_files_and_refuses_what_is_none)
{
    verb_write_known("k.safetensors");
    verb_expect(0, "verify k.safetensors");
    cr_assert_eq(truncate("k.safetensors", 60), 0);
    verb_expect(65, "verify k.safetensors");
    verb_said(verb_err, "truncated");
    cr_assert_eq(mkfifo("fifo", 0600), 0);
    verb_expect(65, "verify fifo");
    verb_expect(65, "verify /dev/null");
    cr_assert_eq(system("echo words > words.txt"), 0);
    verb_expect(65, "verify words.txt");  // no model
    verb_expect(66, "verify nothing");
    cr_assert_eq(mkdir("empty", 0700), 0);
    verb_expect(66, "verify empty");
}

// ---- ckpt

Test(verbs_run, ckpt_ls_lists_newest_first)
{
    verb_expect_json("ckpt ls r --json");
    cr_assert_eq(json_array_size(verb_json), 4);
    cr_assert_eq(verb_number("0.step"), 8);
    cr_assert_eq(verb_number("3.step"), 2);
    cr_assert_str_eq(json_string_value(verb_at(verb_json, "0.state")), "durable");
    cr_assert_eq(verb_number("0.ranks"), 1);
    cr_assert(json_is_false(verb_at(verb_json, "0.pinned")));
    cr_assert_gt(verb_number("0.bytes"), 516);
    cr_assert_str_eq(json_string_value(verb_at(verb_json, "0.path")), verb_snapshot(8));

    verb_flip(verb_file(6, "shard-00000.safetensors"), -1);
    verb_expect_json("ckpt ls r --json");
    cr_assert_str_eq(json_string_value(verb_at(verb_json, "1.state")), "durable");
    verb_expect_json("ckpt ls r --json --verify");
    cr_assert_str_eq(json_string_value(verb_at(verb_json, "1.state")), "damaged");
    verb_expect(0, "ckpt ls r");
    verb_said(verb_out, "durable");
    verb_expect(66, "ckpt ls nothing");
    verb_expect(66, "ckpt ls x.npy");
    verb_expect(64, "ckpt lst r");
    verb_said(verb_err, "did you mean 'ls'");
}

Test(verbs_run, ckpt_show_one)
{
    verb_expect(0, "ckpt show r");
    verb_said(verb_out, "step    8");
    verb_expect_json("ckpt show r 4 --json");
    cr_assert_eq(verb_number("step"), 4);
    verb_expect(66, "ckpt show r 5");
    verb_expect(64, "ckpt show r four");
    for (int step = 2; step <= 8; step += 2)
        cr_assert_eq(remove(verb_file(step, "MANIFEST")), 0);
    verb_expect(66, "ckpt show r");
    verb_said(verb_err, "no durable snapshot");
}

static int64_t steps_left(void)
{
    verb_expect_json("ckpt ls r --json");
    return (int64_t)json_array_size(verb_json);
}

Test(verbs_run, ckpt_prune_and_rm_ask_first)
{
    verb_expect(0, "ckpt prune r --keep latest=2 --dry-run");
    verb_said(verb_out, "would remove 2 snapshots");
    cr_assert_eq(steps_left(), 4);
    verb_expect(64, "ckpt prune r --keep latest=2");
    verb_said(verb_err, "try: -y");
    cr_assert_eq(steps_left(), 4);
    verb_expect(64, "ckpt prune r --keep latest=1 -y");
    verb_expect(0, "ckpt prune r --keep latest=3 -y");
    cr_assert_eq(steps_left(), 3);
    verb_expect_json("ckpt rm r 4 --json --dry-run");
    cr_assert(json_is_true(verb_at(verb_json, "dry_run")));
    cr_assert_eq(verb_number("removed.0.step"), 4);
    cr_assert_eq(steps_left(), 3);
    verb_expect(66, "ckpt rm r 2 -y");
    verb_expect(64, "ckpt rm r -y");
    verb_expect(0, "ckpt rm r 4 -y");
    cr_assert_eq(steps_left(), 2);
    verb_expect(0, "verify r");
}

Test(verbs_run, ckpt_pins_hold)
{
    verb_expect(0, "ckpt pin r 2");
    verb_expect_json("ckpt ls r --json");
    cr_assert(json_is_true(verb_at(verb_json, "3.pinned")));
    verb_expect(64, "ckpt rm r 2 -y");
    verb_said(verb_err, "unpin");
    verb_expect(0, "ckpt prune r --keep latest=2 -y");
    cr_assert_eq(steps_left(), 3);
    verb_expect(0, "ckpt unpin r 2");
    // A pinned one among several: none of them is removed.
    verb_expect(0, "ckpt pin r 6");
    verb_expect(64, "ckpt rm r 2 6 -y");
    cr_assert_eq(steps_left(), 3);
    verb_expect(0, "ckpt rm r 2 -y");
    cr_assert_eq(steps_left(), 2);
    verb_expect(66, "ckpt pin r 2");
}
