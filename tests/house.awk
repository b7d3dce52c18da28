# house.awk - measures C files; prints one line "FILE RULE WORDS" per breach. See house.sh.
# Relies on the brace style: a function's { and } stand alone in column 1.

function breach(rule, words) { print FILENAME, rule, words }

FNR == 1 { finish(); before = ""; inside = 0; conditionals = 0; guard = 0 }
{ lines = FNR; file = FILENAME }

/^#[ \t]*ifndef PAWL_[A-Z0-9_]*_H$/ { guard++ }
/^#[ \t]*(if|ifdef|ifndef|elif)[ \t(]/ { conditionals++ }

# The lines since the last one that ended something are the signature when { follows.
/^\{/ && !inside {
    inside = 1
    name = before; sub(/\(.*/, "", name); sub(/.*[ *]/, "", name)
    if (name == "Test") {  # Criterion's: Test(suite, name)
        name = before; sub(/^Test\([^,]*, */, "", name); sub(/[,)].*/, "", name)
    } else if (parameters(before) > 6 && FILENAME !~ /^(kernels|tests\/kernels)\//)
        breach("parameters", name " has " parameters(before) ", at most 6")
}
!inside && /^[A-Za-z_]/ { if (before == "" || before ~ /[;}]$/) { before = ""; first = FNR } }
!inside { before = /^(\/\/|#|$)|[;}]$/ ? "" : before $0 }
inside && /^                 +(if|for|while|switch|do|return|break|continue|goto)[ ;(]/ && FILENAME !~ /^kernels\// {
    breach("indents", name " at line " FNR ", more than 3 levels")
}
/^\}/ && inside {
    inside = 0
    if (FNR - first + 1 > 60)
        breach("function", name " has " FNR - first + 1 " lines, at most 60")
}
FILENAME ~ /\.h$/ && /TODO|FIXME/ { breach("todo", "at line " FNR) }
END { finish() }

# Commas of the outermost parentheses, plus one.
function parameters(text,   i, c, depth, commas) {
    sub(/^[^(]*/, "", text)
    for (i = 1; i <= length(text); i++) {
        c = substr(text, i, 1)
        if (c == "(") depth++
        if (c == ")") depth--
        if (c == "," && depth == 1) commas++
    }
    return commas + 1
}

function finish() {
    if (lines > 500)
        print file, "file", "has " lines " lines, at most 500"
    if (conditionals - guard > 2 + lines / 500)
        print file, "conditionals", "has " conditionals - guard " #if"
    lines = 0
}
