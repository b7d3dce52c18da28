#!/bin/sh
# test: timeout=300
# Model files that PyTorch, Keras, TensorFlow and Transformers wrote themselves: what is in them,
# what they predict, what they become when converted, and how they train on, against what the
# frameworks say (tests/data/interop/EXPECT.tsv). The argument names a case; without it all.
set -u

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
data=$PAWL_SOURCE/tests/data/interop
only=${1:-}
tab=$(printf '\t')
failed=0 inspected=0 tensors=0 predicted=0 converted=0 trained=0
cd "$dir" || exit 1

wrong() { # WHAT FILE-WITH-WORDS
    failed=$((failed + 1))
    echo "$base/$file: $1"
    sed 's/^/    /;20q' "$2"
}

numbers() { # FILE.npy: its float32 elements, one a line
    head=$(od -An -tu2 -j8 -N2 "$1" | tr -d ' ')
    od -An -v -w4 -tf4 -j $((10 + head)) "$1"
}

# near WANT GOT RTOL ATOL: files of numbers, as many in both, each within the tolerance.
near() {
    paste "$1" "$2" | awk -v rtol="$3" -v atol="$4" '
        NF != 2 || $1 + 0 != $1 || $2 + 0 != $2 { print "line " NR ": " $0; bad = 1; next }
        { off = $1 - $2; size = $1 < 0 ? -$1 : $1
          if ((off < 0 ? -off : off) > atol + rtol * size) { print NR ": " $1 " " $2; bad = 1 } }
        END { exit bad || !NR }' > off.txt
}

# ---- what is in it

# Each weight and moment that must be there: `inspect` prints a line for each.
inspect() {
    inspected=$((inspected + 1))
    "$PAWL" inspect "$path" --json --crc > found.txt 2> err.txt ||
        { wrong "inspect: exit $?" err.txt; return; }
    awk -F '\t' -v format="$format" -v has="$has" -v step="$step" -v epoch="$epoch" \
        -v loss="$loss" '
    function field(name) { # what follows "name": in the line
        return match($0, "\"" name "\": ") ? substr($0, RSTART + RLENGTH) : ""
    }
    function word(name) { # its string
        split(field(name), quoted, "\""); return quoted[2]
    }
    function part(name, letter) {
        if (!index(has, letter) != (field(name) ~ /^(null|{"count": 0,)/))
            print name ": " substr($0, 1, 40)
    }
    FILENAME == "wants.txt" { want[++wants] = $0; next }
    /^{"format"/ && word("format") != format { print "format: " word("format") }
    /^ "architecture"/ && format != "keras-export" { part("architecture", "a") }
    /^ "weights"/ { part("weights", "w") }
    /^ "training"/ {
        part("training", "t"); moments = 1
        if (step != "-" && field("step") + 0 != step) print "step: " field("step")
        if (epoch != "-" && field("epoch") + 0 != epoch) print "epoch: " field("epoch")
        off = field("loss") - loss
        if (loss != "-" && (off > 1e-6 || off < -1e-6)) print "loss: " field("loss")
    }
    /^  {"name": "/ {
        kind = moments ? "moment" : "weight"
        shape = field("shape"); sub(/\].*/, "]", shape)
        what = word("dtype") "\t" shape "\t" word("crc32")
        is[kind, word("name")] = what
        there[kind, what] = 1
    }
    END {
        for (i = 1; i <= wants; i++) {
            split(want[i], w, "\t"); n = split(w[2], names, "|"); found = ""
            what = w[3] "\t" w[4] "\t" w[5]
            for (j = 1; j <= n && !found; j++) found = is[w[1], names[j]]
            # A moment may be called otherwise: its bytes count.
            if (!found && w[1] == "moment" && ((w[1], what) in there)) found = what
            if (found != what) print w[1] " " w[2] ": " what ", found: " found
        }
    }' wants.txt found.txt > off.txt
    tensors=$((tensors + $(grep -c . wants.txt)))
    [ ! -s off.txt ] || wrong "inspect" off.txt
}

# ---- what it computes

predict() { # MODEL OUT FLAGS...
    model=$1 out=$2
    shift 2
    rm -f "$out"
    "$PAWL" predict "$model" --input "$where/x.npy" --output "$out" "$@" > err.txt 2>&1 ||
        { wrong "predict $model: exit $?" err.txt; return 1; }
}

# Converted to its own format and to pawl's it predicts the same bits.
convert() {
    for to in "$format" pawl; do
        # No module of torch's holds an attention with its mask: refused, and convert.sh asks how.
        [ "$base $to" != "torch-encoder pth-model" ] || continue
        converted=$((converted + 1))
        rm -rf made
        "$PAWL" convert "$path" made --to "$to" "$@" > err.txt 2>&1 ||
            { wrong "to $to: exit $?" err.txt; continue; }
        "$PAWL" verify made > err.txt 2>&1 || wrong "$to does not verify" err.txt
        [ -e "$where/y.npy" ] || continue
        case $to in
        pawl | keras | keras-h5 | savedmodel | pth-model) predict made made.npy || continue ;;
        *) predict made made.npy --arch "${2:-$path}" || continue ;;
        esac
        cmp got.npy made.npy > err.txt || wrong "$to predicts otherwise" err.txt
    done
}

compute() {
    set --
    [ "$arch" = - ] || set -- --arch "$where/$arch"
    if [ -e "$where/y.npy" ] && case $has in *w*) true ;; *) false ;; esac; then
        predicted=$((predicted + 1))
        predict "$path" got.npy "$@" || return
        numbers "$where/y.npy" > want.txt
        numbers got.npy > got.txt
        [ "$own" = - ] || atol=$own
        near want.txt got.txt "$rtol" "$atol" || wrong "predictions" off.txt
    fi
    case $has in *w*) convert "$@" ;; esac
}

# ---- how it trains on

train() { # BATCH STEPS RTOL ATOL LOSSES FLAGS
    set -- "$1" "$2" "$3" "$4" "$5" "$([ "$6" = - ] || echo "$6")"
    trained=$((trained + 1))
    steps=$2 loss_rtol=$3 after=$4 losses=$5 batch=$1 flags=$6
    set --
    [ "$arch" = - ] || set -- --arch "$where/$arch"
    train_from "$path" "$@" > losses.txt || return
    echo "$losses" | tr , '\n' > want.txt
    near want.txt losses.txt "$loss_rtol" 0 || wrong "losses" off.txt
    predict run after.npy || return
    numbers "$where/y_after.npy" > want.txt
    numbers after.npy > got.txt
    near want.txt got.txt 0 "$after" || wrong "predictions after" off.txt
    # From the last conversion, pawl's own format, the same bits.
    train_from made > made.txt || return
    cmp losses.txt made.txt > err.txt || wrong "converted to pawl it trains otherwise" err.txt
}

train_from() { # MODEL FLAGS...: the losses
    rm -rf run
    # shellcheck disable=SC2086 # flags are words
    "$PAWL" train "$@" --data "npy:$where/train_x.npy,$where/train_y.npy" --no-shuffle \
        --batch "$batch" --steps "$steps" $flags --out run --json > steps.txt 2> err.txt ||
        { wrong "train $1: exit $?" err.txt >&2; return 1; }
    sed -n '/"event": *"step"/s/.*"loss": *\([^,}]*\).*/\1/p' steps.txt
}

# ---- the table, a row at a time; a file's tensors come before what follows them

finish() { # the file whose tensors are all read
    [ -n "$file" ] || return 0
    inspect
    compute
    [ -n "$next" ] || return 0
    set -f
    IFS=$tab
    # shellcheck disable=SC2086 # a row's fields
    set -- $next
    unset IFS
    set +f
    train "$@"
    next=
}

file='' next='' base=''
: > wants.txt
while IFS=$tab read -r kind one rest; do
    case $kind in
    case | file) finish; file='' ; : > wants.txt ;;
    esac
    case $kind in
    case)
        base=$one where=$data/$one
        case_rtol=${rest%"$tab"*} case_atol=${rest#*"$tab"} ;;
    file)
        [ -z "$only" ] || [ "$only" = "$base" ] || continue
        file=$one path=$where/$one rtol=$case_rtol atol=$case_atol
        IFS=$tab read -r format has arch step epoch loss own <<END
$rest
END
        ;;
    train) [ -z "$file" ] || next="$one$tab$rest" ;;
    *) printf '%s\t%s\t%s\n' "$kind" "$one" "$rest" >> wants.txt ;;
    esac
done < "$data/EXPECT.tsv"
finish

echo "$inspected files inspected ($tensors tensors), $predicted predicted," \
    "$converted conversions, $trained trained on; $failed failed"
[ $failed -eq 0 ] && [ $inspected -gt 0 ]
