// lease.c - one process at a time, and a process that was succeeded can neither commit nor collect.

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "checkpoint/lease.h"
#include "checkpoint/retain.h"
#include "checkpoint/run.h"
#include "checkpoint/sums.h"
#include "kernels/io.h"
#include "saver_support.h"

static char run[4096], lease_path[8192];
static struct state state;

static void set_up(void)
{
    scratch_make(run);
    snprintf(lease_path, sizeof(lease_path), "%s/LEASE", run);
    state_open(&state, STATE_SMALL);
}

static void tear_down(void)
{
    state_close(&state);
    scratch_remove(run);
}

TestSuite(lease, .init = set_up, .fini = tear_down);

static int save_step(struct pawl_saver *saver, uint64_t step)
{
    const struct pawl_progress progress = { .step = step, .epoch = -1, .loss = NAN,
                                            .metric = NAN };

    state_fill(&state, step);
    return pawl_saver_save_now(saver, state.stream, &progress);
}

static void read_epoch(char text[9])
{
    char all[512] = { 0 };
    const int fd = open(lease_path, O_RDONLY);

    cr_assert(fd >= 0);
    cr_assert_gt(read(fd, all, sizeof(all) - 1), 0);
    close(fd);
    snprintf(text, 9, "%s", strstr(all, "epoch ") + 6);
}

Test(lease, a_second_process_is_told_who_holds_it)
{
    int ready[2], quit[2], status;
    char byte = 0, pid[32];
    struct pawl_lease lease;

    cr_assert_eq(pipe(ready) | pipe(quit), 0);
    const pid_t child = fork();
    if (!child) {
        close(quit[1]);
        const int rc = pawl_lease_take(&lease, run);
        const ssize_t told = write(ready[1], &byte, 1);
        while (read(quit[0], &byte, 1) > 0)
            continue;
        _exit(rc != 0 || told != 1);
    }
    close(quit[0]);
    cr_assert_eq(read(ready[0], &byte, 1), 1);
    struct pawl_saver *saver = NULL;
    cr_assert_eq(pawl_saver_open(&saver, &(struct pawl_saver_options){ .where = run },
                                 state.device), PAWL_EBUSY);
    char host[256];
    snprintf(pid, sizeof(pid), "process %d ", child);
    gethostname(host, sizeof(host));
    cr_expect_not_null(strstr(pawl_error(), pid), "%s", pawl_error());
    cr_expect_not_null(strstr(pawl_error(), host), "%s", pawl_error());
    close(quit[1]);
    waitpid(child, &status, 0);
    cr_assert_eq(status, 0);
    // A dead process holds nothing.
    cr_assert_eq(pawl_saver_open(&saver, &(struct pawl_saver_options){ .where = run },
                                 state.device), 0, "%s", pawl_error());
    pawl_saver_close(saver);
}

Test(lease, the_epoch_only_grows)
{
    struct pawl_lease lease;
    char epoch[9], path[8192], job[33], again[33];

    cr_assert_eq(pawl_lease_take(&lease, run), 0);
    cr_assert_eq(lease.epoch, 1);
    pawl_job_text(job, lease.job);
    cr_assert_eq(pawl_lease_renew(&lease), 0);
    cr_assert_eq(lease.epoch, 2);
    cr_assert_eq(pawl_lease_check(&lease), 0);
    pawl_lease_drop(&lease);
    cr_assert_eq(pawl_lease_take(&lease, run), 0);
    cr_assert_eq(lease.epoch, 3);
    pawl_job_text(again, lease.job);
    cr_assert_str_eq(job, again, "the job's number stays with the run");
    pawl_lease_drop(&lease);

    // Above every name too, also when LEASE is lost or torn.
    snprintf(path, sizeof(path), "%s/step-0000000000000001-0000000a", run);
    cr_assert_eq(mkdir(path, 0777), 0);
    cr_assert_eq(pawl_lease_take(&lease, run), 0);
    cr_assert_eq(lease.epoch, 11);
    pawl_lease_drop(&lease);
    cr_assert_eq(truncate(lease_path, 40), 0);
    cr_assert_eq(pawl_lease_take(&lease, run), 0);
    cr_assert_eq(lease.epoch, 11);
    pawl_lease_drop(&lease);
    cr_assert_eq(unlink(lease_path), 0);
    cr_assert_eq(pawl_lease_take(&lease, run), 0);
    cr_assert_eq(lease.epoch, 11);
    pawl_lease_drop(&lease);
    read_epoch(epoch);
    cr_assert_str_eq(epoch, "0000000b");
}

// Somebody broke the lock: LEASE was replaced, and another process took the new one.
// A record of the same job as another process would have left it, in a file of its own.
static void replace_lease(const char *from, const char *to, bool seal)
{
    char text[512] = { 0 }, made[1024];

    const int fd = open(lease_path, O_RDONLY);
    cr_assert(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0);
    close(fd);
    char *at = strstr(text, from), *crc = strstr(text, "crc32c ");
    cr_assert(at && crc && at < crc, "%s", text);
    const int size = snprintf(made, sizeof(made), "%.*s%s%.*s", (int)(at - text), text, to,
                              (int)(crc - at - (long)strlen(from)), at + strlen(from));
    if (seal)
        snprintf(made + size, sizeof(made) - (size_t)size, "crc32c %08x\n",
                 pawl_crc32c(made, (size_t)size));
    else
        memcpy(made + size, crc, 16);
    cr_assert_eq(unlink(lease_path), 0);
    cr_assert_eq(pawl_io_write_file(lease_path, made, (size_t)size + 16, false), 0);
}

Test(lease, the_same_job_of_a_later_epoch)
{
    struct pawl_lease lease;

    cr_assert_eq(pawl_lease_take(&lease, run), 0);
    cr_assert_eq(pawl_lease_check(&lease), 0, "%s", pawl_error());
    replace_lease("epoch 00000001", "epoch 00000002", true);
    cr_assert_eq(pawl_lease_check(&lease), PAWL_EIO);
    cr_expect_not_null(strstr(pawl_error(), "newer"), "%s", pawl_error());
    replace_lease("epoch 00000002", "epoch 00000001", true);
    cr_assert_eq(pawl_lease_check(&lease), 0, "%s", pawl_error());
    pawl_lease_drop(&lease);
}

Test(lease, a_damaged_record_is_none)
{
    struct pawl_lease lease;

    cr_assert_eq(pawl_lease_take(&lease, run), 0);
    replace_lease("pid ", "pid 1", false);
    cr_assert_eq(pawl_lease_check(&lease), PAWL_EIO);
    cr_expect_not_null(strstr(pawl_error(), "damaged"), "%s", pawl_error());
    pawl_lease_drop(&lease);
}

Test(lease, one_that_was_succeeded_steps_back)
{
    struct pawl_saver *old = open_saver(&state, run, "latest=2", NULL);

    for (uint64_t step = 1; step <= 2; step++)
        cr_assert_eq(save_step(old, step), 0);
    cr_assert_eq(unlink(lease_path), 0);
    struct pawl_saver *young = open_saver(&state, run, "latest=9", NULL);
    cr_assert_eq(save_step(young, 3), 0);

    cr_assert_eq(save_step(old, 4), PAWL_EIO);
    cr_expect_not_null(strstr(pawl_error(), "epoch 2"), "%s", pawl_error());
    cr_expect_not_null(strstr(pawl_error(), "newer"), "%s", pawl_error());
    char path[4096];
    cr_assert_not(scratch_find(run, 4, path), "it may not even begin");
    cr_assert_eq(save_step(young, 5), 0);
    cr_assert_eq(save_step(old, 6), PAWL_EIO, "for good");
    pawl_saver_close(old);
    pawl_saver_close(young);
    cr_assert_eq(scratch_count(run), 4, "the old one may not collect: steps 1 2 3 5");
}

// Succeeded in the middle of a save, after the shards: the manifest must not appear.
static const struct pawl_io *below;
static bool usurped;

static int usurp(int fd, off_t size)
{
    struct pawl_lease other;

    pawl_io_set(NULL);
    cr_assert_eq(unlink(lease_path), 0);
    cr_assert_eq(pawl_lease_take(&other, run), 0);
    pawl_lease_drop(&other);
    usurped = true;
    return below->reserve(fd, size);
}

Test(lease, one_that_is_succeeded_meanwhile_does_not_commit)
{
    struct pawl_io table = pawl_io_posix;
    char path[4096], manifest[8192];

    struct pawl_saver *saver = open_saver(&state, run, NULL, NULL);
    cr_assert_eq(save_step(saver, 1), 0);
    below = &pawl_io_posix;
    table.reserve = usurp;
    pawl_io_set(&table);
    cr_assert_eq(save_step(saver, 2), PAWL_EIO);
    pawl_io_set(NULL);
    cr_assert(usurped);
    cr_assert(scratch_find(run, 2, path));
    snprintf(manifest, sizeof(manifest), "%s/MANIFEST", path);
    cr_assert_neq(access(manifest, F_OK), 0, "a zombie committed");
    pawl_saver_close(saver);
}

Test(lease, a_zombie_does_not_collect)
{
    struct pawl_keep keep;
    struct pawl_lease lease;
    char path[8192];

    cr_assert_eq(pawl_lease_take(&lease, run), 0);
    snprintf(path, sizeof(path), "%s/step-0000000000000001-00000000", run);
    cr_assert_eq(mkdir(path, 0777), 0);
    cr_assert_eq(unlink(lease_path), 0);
    struct pawl_lease other;
    cr_assert_eq(pawl_lease_take(&other, run), 0);
    cr_assert_eq(pawl_keep_parse(&keep, "latest=2"), 0);
    cr_assert_eq(pawl_retain(run, &keep, &lease, NULL, NULL), PAWL_EIO);
    cr_assert_eq(access(path, F_OK), 0);
    cr_assert_eq(pawl_retain(run, &keep, &other, NULL, NULL), 0);
    cr_assert_neq(access(path, F_OK), 0);
    pawl_lease_drop(&lease);
    pawl_lease_drop(&other);
}

// ---- directories that cannot be used

static void must_refuse(const char *where, int code, const char *words)
{
    struct pawl_saver *saver = NULL;
    const int rc = pawl_saver_open(&saver, &(struct pawl_saver_options){ .where = where },
                                   state.device);

    cr_expect_eq(rc, code, "%s: %d", where, rc);
    cr_expect_not_null(strstr(pawl_error(), words), "%s", pawl_error());
    cr_expect_not_null(strstr(pawl_error(), where), "%s", pawl_error());
}

Test(lease, directories_that_cannot_be_used)
{
    char path[8192];

    snprintf(path, sizeof(path), "%s/a/b", run);
    must_refuse(path, PAWL_EIO, "No such file or directory");
    snprintf(path, sizeof(path), "%s/file", run);
    fclose(fopen(path, "w"));
    must_refuse(path, PAWL_EIO, "Not a directory");
    must_refuse("/proc/pawl", PAWL_EIO, "cannot create");
    snprintf(path, sizeof(path), "%s/new", run);  // one level is made
    struct pawl_saver *saver = open_saver(&state, path, NULL, NULL);
    cr_assert_eq(save_step(saver, 1), 0);
    pawl_saver_close(saver);
}
