// table.c - every verb and every flag of the command.

#include "runtime/cli/table.h"

#include <string.h>

#include "runtime/cli/verbs.h"

const struct pawl_verb pawl_verbs[] = {
    { "train", pawl_verb_train, "MODEL --data SRC --out DIR [FLAG...]",
      "train, saving while it trains; the same command again resumes",
      "MODEL is a preset (gpt:layers=6,heads=6,width=384,context=256, mlp:784-256-128-10,\n"
      "cnn:fashion), an architecture file, a run directory, one snapshot or a saved model.\n"
      "\n"
      "  pawl train gpt:layers=2,heads=4,width=128,context=128 --data book.txt --out runs/a\n"
      "  pawl train cnn:fashion --data idx:DIR --epochs 2 --out runs/b --save-every 30s\n",
      1, 1 },
    { "predict", pawl_verb_predict, "MODEL --input X.npy --output Y.npy",
      "forward pass in inference mode", "  pawl predict runs/b --input x.npy --output y.npy\n", 1,
      1 },
    { "generate", pawl_verb_generate, "MODEL [--prompt TEXT]", "sample from a language model",
      "  pawl generate runs/a --prompt 'The ' --tokens 100\n", 1, 1 },
    { "inspect", pawl_verb_inspect, "PATH [PATTERN]",
      "what is in a model file: architecture, weights, training state",
      "PATTERN (* and ?) chooses tensors by name.\n"
      "\n"
      "  pawl inspect runs/a\n"
      "  pawl inspect model.safetensors '*.bias' --stats\n",
      1, 2 },
    { "convert", pawl_verb_convert, "IN OUT", "any format to any format that can carry the parts",
      "The format of IN is read from its bytes, that of OUT from --to or its suffix. A part of IN\n"
      "that OUT cannot carry is dropped, and one line on stderr says so.\n"
      "\n"
      "  pawl convert runs/a a.safetensors --only weights\n",
      2, 2 },
    { "diff", pawl_verb_diff, "A B",
      "compare two models tensor by tensor; exit 0 when bit-identical",
      "Exit 1 when they differ.\n"
      "\n"
      "  pawl diff runs/a runs/b\n",
      2, 2 },
    { "verify", pawl_verb_verify, "PATH", "check every byte that can be checked; changes nothing",
      "  pawl verify runs/a\n", 1, 1 },
    { "ckpt", pawl_verb_ckpt, "ls|show|prune|rm|pin|unpin DIR [STEP...]",
      "list and keep house among the snapshots of a run",
      "  pawl ckpt ls runs/a\n"
      "  pawl ckpt prune runs/a --keep latest=2,every=1000 --dry-run\n"
      "  pawl ckpt rm runs/a 300 400 -y\n"
      "  pawl ckpt pin runs/a 1200\n",
      2, 1024 },
    { "bench", pawl_verb_bench, "save|restore|step [MODEL...]",
      "measure this machine; save is a paired A/B",
      "  pawl bench step gpt:layers=6,heads=6,width=384,context=256\n"
      "  pawl bench save gpt:layers=6,heads=6,width=384,context=256 --dir /mnt/scratch\n"
      "  pawl bench save mlp:784-1024..8192-10 -o md    # 1024, 2048, 4096, 8192\n",
      1, 65 },
    { "doctor", pawl_verb_doctor, "[--dir DIR]",
      "what this machine offers: CPU, GPU or why none, disk, memory, launcher",
      "  pawl doctor --dir runs\n", 0, 0 },
    { "help", pawl_verb_help, "[VERB] | --man | --completions bash|zsh|fish",
      "this help, one verb's, the man page, shell completions",
      "  pawl help train\n"
      "  pawl help --man | man -l -\n"
      "  pawl help --completions bash > ~/.local/share/bash-completion/completions/pawl\n",
      0, 1 },
};
const int pawl_verb_count = sizeof(pawl_verbs) / sizeof(pawl_verbs[0]);

const struct pawl_verb *pawl_verb_find(const char *name)
{
    for (int i = 0; i < pawl_verb_count; i++)
        if (!strcmp(pawl_verbs[i].name, name))
            return &pawl_verbs[i];
    return NULL;
}

const char *const pawl_group_names[PAWL_GROUPS] = {
    "Model and data", "Learning", "Saving and resuming", "Machine", "Telling", "Common",
};

// Bits of the rows above, in their order.
enum {
    TRAIN = 1 << 0,
    PREDICT = 1 << 1,
    GENERATE = 1 << 2,
    INSPECT = 1 << 3,
    CONVERT = 1 << 4,
    DIFF = 1 << 5,
    VERIFY = 1 << 6,
    CKPT = 1 << 7,
    BENCH = 1 << 8,
    DOCTOR = 1 << 9,
    HELP = 1 << 10,
    EVERY = (1 << 11) - 1,
    MODELS = TRAIN | PREDICT | GENERATE,
    JSON = EVERY & ~(HELP | GENERATE | CONVERT),
};

#define AT(field) offsetof(struct pawl_options, field)

const struct pawl_flag pawl_flags[] = {
    // ---- model and data
    { "data", PAWL_FLAG_TEXT, AT(data), TRAIN, PAWL_GROUP_INPUT, "SRC", "",
      "What to learn from: text:PATH (bytes of a file or tree), tokens:FILE (uint16), idx:DIR "
      "(MNIST family), npy:X.npy,Y.npy. A plain path is recognised by its content.",
      "text:book.txt", 0, 0, 0 },
    { "val", PAWL_FLAG_TEXT, AT(val), TRAIN, PAWL_GROUP_INPUT, "SRC|FRACTION", "",
      "What to validate on: a source like --data, or a fraction of it that is held back.", "0.1", 0,
      0, 0 },
    { "arch", PAWL_FLAG_TEXT, AT(arch), MODELS | CONVERT, PAWL_GROUP_INPUT, "MODEL", "",
      "The architecture, when MODEL is a file that holds weights only.", "config.json", 0, 0, 0 },
    { "take", PAWL_FLAG_CHOICE, AT(take), TRAIN, PAWL_GROUP_INPUT, "all|weights|architecture",
      "all", "Which parts of MODEL to start from.", "weights", 0, 0, 0 },
    { "input", PAWL_FLAG_TEXT, AT(input), PREDICT, PAWL_GROUP_INPUT, "X.npy", "",
      "The rows to predict for.", "x.npy", 0, 0, 0 },
    { "output", PAWL_FLAG_TEXT, AT(output), PREDICT, PAWL_GROUP_INPUT, "Y.npy", "",
      "Where the predictions go.", "y.npy", 0, 0, 0 },
    { "prompt", PAWL_FLAG_TEXT, AT(prompt), GENERATE, PAWL_GROUP_INPUT, "TEXT", "",
      "What the sample goes on from.", "'Once upon'", 0, 0, 0 },
    { "tokens", PAWL_FLAG_COUNT, AT(tokens), GENERATE, PAWL_GROUP_INPUT, "N", "256",
      "How many tokens to make.", "100", 0, 1, 0 },
    { "temperature", PAWL_FLAG_NUMBER, AT(temperature), GENERATE, PAWL_GROUP_INPUT, "F", "1",
      "Below 1 is surer, above 1 bolder; 0 always takes the likeliest.", "0.8", 0, 0, 0 },
    { "to", PAWL_FLAG_TEXT, AT(format), CONVERT, PAWL_GROUP_INPUT, "FORMAT", "by OUT's suffix",
      "The format to write.", "safetensors", 0, 0, 0 },
    { "only", PAWL_FLAG_CHOICE, AT(only), CONVERT, PAWL_GROUP_INPUT, "architecture|weights",
      "every part", "The one part to write.", "weights", 0, 0, 0 },
    { "dtype", PAWL_FLAG_CHOICE, AT(dtype), CONVERT, PAWL_GROUP_INPUT, "fp32|bf16|fp16", "as in IN",
      "The element type to write.", "bf16", 0, 0, 0 },
    { "strict", PAWL_FLAG_SWITCH, AT(strict), CONVERT, PAWL_GROUP_INPUT, NULL, "",
      "Exit 65 instead of dropping a part that OUT cannot carry.", NULL, 0, 0, 0 },
    { "force", PAWL_FLAG_SWITCH, AT(force), CONVERT | PREDICT, PAWL_GROUP_INPUT, NULL, "",
      "Replace an output that is there.", NULL, 0, 0, 0 },
    { "stats", PAWL_FLAG_SWITCH, AT(stats), INSPECT, PAWL_GROUP_INPUT, NULL, "",
      "Also min, max, mean, zeros, NaN and infinities of each tensor.", NULL, 0, 0, 0 },
    { "crc", PAWL_FLAG_SWITCH, AT(crc), INSPECT, PAWL_GROUP_INPUT, NULL, "",
      "Also zlib's CRC32 of each tensor's bytes.", NULL, 0, 0, 0 },

    // ---- learning
    { "steps", PAWL_FLAG_COUNT, AT(steps), TRAIN, PAWL_GROUP_LEARN, "N", "one epoch",
      "Stop after step N: the total, not more of them, so the same command resumes.", "1000", 0, 1,
      0 },
    { "epochs", PAWL_FLAG_NUMBER, AT(epochs), TRAIN, PAWL_GROUP_LEARN, "N", "",
      "The same in passes over the data.", "3", 0, 0, 0 },
    { "batch", PAWL_FLAG_COUNT, AT(batch), TRAIN | PREDICT | BENCH, PAWL_GROUP_LEARN, "B",
      "8 sequences or 64 samples",
      "Sequences or samples per step, over all ranks and micro-batches.", "32", 0, 1, 0 },
    { "seq", PAWL_FLAG_COUNT, AT(seq), TRAIN | BENCH, PAWL_GROUP_LEARN, "T", "the model's context",
      "Tokens per sequence.", "256", 0, 1, 0 },
    { "accumulate", PAWL_FLAG_COUNT, AT(accumulate), TRAIN, PAWL_GROUP_LEARN, "N", "1",
      "Micro-batches per step: less memory, the same result.", "4", 0, 1, 0 },
    { "seed", PAWL_FLAG_COUNT, AT(seed), TRAIN | GENERATE, PAWL_GROUP_LEARN, "S", "0",
      "Everything random follows from it.", "1", 0, 0, 0 },
    { "shuffle", PAWL_FLAG_SWITCH, AT(shuffle), TRAIN, PAWL_GROUP_LEARN, NULL, "on",
      "Visit the data in an order drawn from the seed.", NULL, 0, 0, 0 },
    { "loss", PAWL_FLAG_CHOICE, AT(loss), TRAIN, PAWL_GROUP_LEARN,
      "cross-entropy|mse|binary-cross-entropy", "what the model says, else by data",
      "What to make small.", "mse", 0, 0, 0 },
    { "optimizer", PAWL_FLAG_CHOICE, AT(optimizer), TRAIN, PAWL_GROUP_LEARN,
      "adamw|adam|sgd|rmsprop", "the model's, else adamw", "The update rule.", "adamw", 0, 0, 0 },
    { "lr", PAWL_FLAG_NUMBER, AT(lr), TRAIN, PAWL_GROUP_LEARN, "F",
      "the model's, else 0.001 (sgd: 0.01)", "The learning rate.", "3e-4", 0, 0, 0 },
    { "betas", PAWL_FLAG_PAIR, AT(betas), TRAIN, PAWL_GROUP_LEARN, "A,B", "0.9,0.999",
      "Decay of the first and second moment (adamw, adam).", "0.9,0.95", 0, 0, 1 },
    { "eps", PAWL_FLAG_NUMBER, AT(eps), TRAIN, PAWL_GROUP_LEARN, "F", "1e-8",
      "Added to the root of the second moment.", "1e-8", 0, 0, 0 },
    { "momentum", PAWL_FLAG_NUMBER, AT(momentum), TRAIN, PAWL_GROUP_LEARN, "F", "0",
      "Of sgd and rmsprop.", "0.9", 0, 0, 1 },
    { "weight-decay", PAWL_FLAG_NUMBER, AT(weight_decay), TRAIN, PAWL_GROUP_LEARN, "F",
      "the model's, else 0.01 for adamw", "Pull of the weights towards 0.", "0.1", 0, 0, 0 },
    { "clip", PAWL_FLAG_NUMBER, AT(clip), TRAIN, PAWL_GROUP_LEARN, "F", "0: off",
      "Longest gradient, by its norm over all weights.", "1.0", 0, 0, 0 },
    { "schedule", PAWL_FLAG_TEXT, AT(schedule), TRAIN, PAWL_GROUP_LEARN,
      "constant|cosine|linear[,warmup=N,min=F]", "constant", "How the learning rate goes.",
      "cosine,warmup=100,min=1e-5", 0, 0, 0 },

    // ---- saving and resuming
    { "out", PAWL_FLAG_TEXT, AT(out), TRAIN, PAWL_GROUP_SAVE, "DIR", "",
      "The run's directory: snapshots go there, and are resumed from there.", "runs/a", 0, 0, 0 },
    { "save-every", PAWL_FLAG_EVERY, AT(save_every), TRAIN, PAWL_GROUP_SAVE, "N|30m|1epoch", "10m",
      "How often to save: steps, a time, or epochs. The last step is always saved.", "30m", 0, 0,
      0 },
    { "keep", PAWL_FLAG_TEXT, AT(keep), TRAIN | CKPT, PAWL_GROUP_SAVE, "RULES", "latest=3",
      "Which snapshots to keep: latest=N (at least 2), every=N, best=N:val_loss:min.",
      "latest=3,every=1000", 0, 0, 0 },
    { "resume", PAWL_FLAG_TEXT, AT(resume), TRAIN, PAWL_GROUP_SAVE, "auto|must|never|STEP|PATH",
      "auto", "Where to go on from; must: exit 66 when there is nothing to resume.", "must", 0, 0,
      0 },
    { "save-mode", PAWL_FLAG_CHOICE, AT(save_mode), TRAIN, PAWL_GROUP_SAVE, "async|sync|off",
      "async", "async writes beside the steps, sync waits for each save.", "async", 0, 0, 0 },
    { "host-memory", PAWL_FLAG_SIZE, AT(host_memory), TRAIN | BENCH, PAWL_GROUP_SAVE, "SIZE",
      "the state's size",
      "Memory for snapshots on their way, from 256MiB up. Less than the state: steps may wait for "
      "storage. Several times the state: as many at once.", "256MiB", 0, 0, 0 },
    { "max-duration", PAWL_FLAG_DURATION, AT(max_duration_s), TRAIN, PAWL_GROUP_SAVE, "TIME", "",
      "Save and exit 75 after this long, for queues with a time limit.", "3h55m", 0, 0, 0 },
    { "export", PAWL_FLAG_TEXT, AT(export_to), TRAIN, PAWL_GROUP_SAVE, "PATH[=FORMAT]", "",
      "Also write the model there at the end.", "model.safetensors", 0, 0, 0 },
    { "meta", PAWL_FLAG_LIST, AT(meta), TRAIN, PAWL_GROUP_SAVE, "KEY=JSON", "",
      "Anything else to remember, kept in every snapshot. May be given again.", "note='\"a\"'", 0,
      0, 0 },
    { "verify", PAWL_FLAG_SWITCH, AT(verify), CKPT, PAWL_GROUP_SAVE, NULL, "",
      "Read every byte of each snapshot.", NULL, 0, 0, 0 },
    { "dry-run", PAWL_FLAG_SWITCH, AT(dry_run), CKPT, PAWL_GROUP_SAVE, NULL, "",
      "Say what would be removed, and remove nothing.", NULL, 0, 0, 0 },
    { "yes", PAWL_FLAG_SWITCH, AT(yes), CKPT, PAWL_GROUP_SAVE, NULL, "", "Remove without asking.",
      NULL, 'y', 0, 0 },

    // ---- machine
    { "device", PAWL_FLAG_TEXT, AT(device), MODELS | BENCH, PAWL_GROUP_MACHINE,
      "auto|host|cuda[:N]|sim", "auto", "Where to compute.", "host", 0, 0, 0 },
    { "dtype", PAWL_FLAG_CHOICE, AT(dtype), MODELS | BENCH, PAWL_GROUP_MACHINE, "fp32|bf16", "fp32",
      "The element type to compute in; weights and moments are kept in fp32 either way.", "bf16", 0,
      0, 0 },
    { "threads", PAWL_FLAG_COUNT, AT(threads), MODELS | BENCH | DOCTOR, PAWL_GROUP_MACHINE, "N",
      "0: every core this process may use",
      "Threads of the host device; results do not depend on it.", "2", 0, 0, 257 },
    { "io", PAWL_FLAG_CHOICE, AT(io), TRAIN | BENCH, PAWL_GROUP_MACHINE, "uring|posix",
      "uring where the kernel lets us",
      "How snapshots are written: through io_uring or by threads.",
      "posix", 0, 0, 0 },
    { "dir", PAWL_FLAG_TEXT, AT(dir), BENCH | DOCTOR, PAWL_GROUP_MACHINE, "DIR", "here",
      "The directory to measure, with temporary files.", "runs", 0, 0, 0 },
    { "seconds", PAWL_FLAG_NUMBER, AT(seconds), BENCH, PAWL_GROUP_MACHINE, "F", "10",
      "How long to measure.", "10", 0, 0, 0 },
    { "windows", PAWL_FLAG_COUNT, AT(windows), BENCH, PAWL_GROUP_MACHINE, "N", "6",
      "Pairs of windows, with and without a save.", "12", 0, 1, 0 },

    // ---- telling
    { "rows", PAWL_FLAG_CHOICE, AT(rows), BENCH, PAWL_GROUP_TELL, "text|md|csv|json", "text",
      "How the figures are told; json is what --json does.", "md", 'o', 0, 0 },
    { "json", PAWL_FLAG_SWITCH, AT(json), JSON, PAWL_GROUP_TELL, NULL, "",
      "JSON on stdout, and nothing else there.", NULL, 0, 0, 0 },
    { "quiet", PAWL_FLAG_SWITCH, AT(quiet), TRAIN, PAWL_GROUP_TELL, NULL, "",
      "Only the end and what went wrong.", NULL, 'q', 0, 0 },
    { "log-every", PAWL_FLAG_COUNT, AT(log_every), TRAIN, PAWL_GROUP_TELL, "N",
      "0: about one line a second", "Steps between lines for people.", "10", 0, 0, 0 },
    { "report", PAWL_FLAG_TEXT, AT(report), TRAIN, PAWL_GROUP_TELL, "FILE.html", "",
      "A page with curves, lanes and saves, written at the end.", "run.html", 0, 0, 0 },
    { "trace", PAWL_FLAG_TEXT, AT(trace), TRAIN, PAWL_GROUP_TELL, "FILE.json", "",
      "Compute, copy and persist over time, for Perfetto.", "run.json", 0, 0, 0 },
    { "tensorboard", PAWL_FLAG_TEXT, AT(tensorboard), TRAIN, PAWL_GROUP_TELL, "DIR", "",
      "Scalars for TensorBoard.", "tb/a", 0, 0, 0 },
    { "metrics", PAWL_FLAG_TEXT, AT(metrics), TRAIN, PAWL_GROUP_TELL, "FILE.prom", "",
      "Figures for Prometheus' textfile collector, rewritten at every save.", "pawl.prom", 0, 0,
      0 },

    // ---- common
    { "config", PAWL_FLAG_TEXT, AT(config), EVERY & ~HELP, PAWL_GROUP_COMMON, "FILE", "",
      "Lines `flag = value`; the command line and the environment win over it.", "train.conf", 0, 0,
      0 },
    { "print-config", PAWL_FLAG_SWITCH, AT(print_config), EVERY & ~HELP, PAWL_GROUP_COMMON, NULL,
      "", "Show each value and where it came from, and do nothing.", NULL, 0, 0, 0 },
    { "man", PAWL_FLAG_SWITCH, AT(man), HELP, PAWL_GROUP_COMMON, NULL, "", "The man page, in roff.",
      NULL, 0, 0, 0 },
    { "completions", PAWL_FLAG_CHOICE, AT(completions), HELP, PAWL_GROUP_COMMON, "bash|zsh|fish",
      "", "A completion script for a shell.", "bash", 0, 0, 0 },
    { "help", PAWL_FLAG_SWITCH, AT(help), EVERY, PAWL_GROUP_COMMON, NULL, "", "This.", NULL, 'h', 0,
      0 },
};
const int pawl_flag_count = sizeof(pawl_flags) / sizeof(pawl_flags[0]);
_Static_assert(sizeof(pawl_flags) / sizeof(pawl_flags[0]) <= PAWL_FLAGS_MAX, "raise the limit");
_Static_assert(sizeof(pawl_verbs) / sizeof(pawl_verbs[0]) == 11, "EVERY and the bits follow");

const struct pawl_alias pawl_aliases[] = {
    { "save-steps", "save-every", NULL },      { "save-interval", "save-every", NULL },
    { "save-total-limit", "keep", "latest=" }, { "resume-from-checkpoint", "resume", NULL },
    { "ckpt-path", "resume", NULL },           { "output-dir", "out", NULL },
};
const int pawl_alias_count = sizeof(pawl_aliases) / sizeof(pawl_aliases[0]);

const struct pawl_flag *pawl_flag_find(const struct pawl_verb *verb, const char *name)
{
    const unsigned bit = verb ? 1u << (verb - pawl_verbs) : ~0u;

    for (int i = 0; i < pawl_flag_count; i++)
        if ((pawl_flags[i].verbs & bit) && !strcmp(pawl_flags[i].name, name))
            return &pawl_flags[i];
    return NULL;
}
