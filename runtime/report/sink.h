// sink.h - inside the report: the facts on their way, and the table of those who write them down.
//
//     trainer --pawl_report_step--> queue (4,096 facts) --thread "pawl-report"--> history, sinks
//
// The trainer's thread only copies a fact into the queue. The report's thread keeps the history
// and hands each fact to every sink in the order told. Between two facts it ticks, ten times a
// second, for what moves by itself (the progress line). Sinks never run at the same time.
//
// A new kind of output is one file and one row in report.c.

#ifndef PAWL_SINK_H
#define PAWL_SINK_H

#include "checkpoint/text.h"
#include "runtime/report/history.h"
#include "runtime/report/report.h"

enum pawl_fact_kind {
    PAWL_FACT_START,
    PAWL_FACT_STEP,
    PAWL_FACT_EVAL,
    PAWL_FACT_SAVE,
    PAWL_FACT_SAVING,
    PAWL_FACT_SIGNAL,
    PAWL_FACT_NOTE,
    PAWL_FACT_DONE,
};

struct pawl_fact {
    enum pawl_fact_kind kind;
    int64_t at_ns;  // when told
    union {
        struct pawl_report_step step;
        struct {
            struct pawl_eval_record record;
            double seconds;
        } eval;
        const struct pawl_save_event *save;  // valid while the sinks look at it
        struct {
            uint64_t written, total;
        } saving;
        struct {
            uint64_t step;
            char name[16], action[48];
        } signal;
        const char *note;  // valid while the sinks look at it
        struct {
            uint64_t step;
            double loss, seconds;
            int status;
        } done;
    };
};

// What every sink may look at.
struct pawl_told {
    struct pawl_report_options options;
    struct pawl_report_start start;  // texts owned; skipped only while START is told
    struct pawl_history history;
    int64_t open_ns, open_wall_ns;
    bool terminal;  // stdout is one that can be redrawn
    bool started, ended;
    uint64_t step;                 // of the last fact that had one
    struct pawl_report_step last;  // the newest step; end_ns 0: none yet
    struct pawl_eval_record eval;  // the newest; at_ns 0: none yet
    int status;                    // the exit code, once ended
    uint64_t end_step;
    double end_loss, end_seconds;
};

struct pawl_sink_kind {
    const char *name;
    bool (*wanted)(const struct pawl_told *told);
    // Takes memory and looks whether the output can be made.
    int (*open)(void **self, const struct pawl_told *told);
    void (*take)(void *self, const struct pawl_fact *fact);
    void (*tick)(void *self, int64_t now_ns);  // may be NULL
    // After the last fact, on the caller's thread. The first failure; accepts a half-open self.
    int (*close)(void *self);
};

extern const struct pawl_sink_kind pawl_sink_json, pawl_sink_events, pawl_sink_terminal,
    pawl_sink_plain,
    pawl_sink_tensorboard, pawl_sink_metrics, pawl_sink_html, pawl_sink_trace;

// ---- shared by sinks

// Seconds since the report was opened.
double pawl_told_seconds(const struct pawl_told *told, int64_t at_ns);
// Writes all of it to a descriptor that may be a pipe or a terminal. 0 or -errno.
int pawl_put(int fd, const char *bytes, size_t size);
// A file that appears whole or not at all; PAWL_EIO with words. Frees the text either way.
int pawl_put_file(const char *path, struct pawl_text *text);
// Whether a file could be made there later: its directory exists. PAWL_EIO with words.
int pawl_put_check(const char *path, const char *flag);

// lines.c: what people read, one fact per line, without newline.
void pawl_line(struct pawl_text *out, const struct pawl_told *told, const struct pawl_fact *fact);
// Text broken at blanks into lines of at most `columns`, each with its newline.
void pawl_wrap(struct pawl_text *out, const char *text, int columns);
// lanes.c: the picture and the verdict, each line with its newline.
struct pawl_lanes_look {
    int columns;
    bool utf8, colour;
};
void pawl_lanes(struct pawl_text *out, const struct pawl_told *told,
                const struct pawl_lanes_look *look);
void pawl_verdict(struct pawl_text *out, const struct pawl_told *told, int columns);
// The stretch of time worth showing: around one save, or the whole run.
void pawl_lanes_window(const struct pawl_history *history, int64_t *from_ns, int64_t *to_ns,
                       const struct pawl_save_record **save);

#endif
