#!/usr/bin/awk -f
# table.awk LIST RESULTS: the table of all targets, from what fuzz.sh has written down.
function human(n) { return n >= 1e9 ? sprintf("%.2fe9", n / 1e9) : n >= 1e6 ? sprintf("%.1fe6", n / 1e6) : sprintf("%d", n) }
function told(mode, n) { return (mode, n) in runs ? human(runs[mode, n]) : "not run" }
BEGIN { FS = "\t"; OFS = " | " }
FNR == NR { name[++count] = $1; about[$1] = $4; next }
{
    day = substr($1, 1, 10)
    if (!first || day < first) first = day
    if (day > last) last = day
    if ($2 == "canary") { canary[$3] = $5 ? $4 : "not found"; tried[$3] = 1; next }
    runs[$2, $3] += $6; time[$2, $3] += $4; crashes[$3] += $5
    if ($7 > cov[$3]) cov[$3] = $7
    if ($8 > ft[$3]) ft[$3] = $8
}
END {
    print "# What was fuzzed"
    print ""
    printf "Made by `tests/fuzz/fuzz.sh`; counts of all runs from %s to %s (UTC). Edges and features are\n", first, last
    print "libFuzzer's; seconds are of processor time. A crash is counted for each run that ended in one, also where it is mended since."
    print ""
    print "| target | reads | plain runs | a second | ASAN runs | crashes | canary after | edges | features |"
    print "|---|---|--:|--:|--:|--:|--:|--:|--:|"
    for (i = 1; i <= count; i++) {
        n = name[i]
        rate = time["plain", n] ? sprintf("%d", runs["plain", n] / time["plain", n]) : "-"
        after = !(n in tried) ? "not run" : canary[n] == "not found" ? "not found" : canary[n] " s"
        printf "| %s | %s | %s | %s | %s | %d | %s | %d | %d |\n", n, about[n], told("plain", n), rate, told("asan", n), crashes[n], after, cov[n], ft[n]
        plain += runs["plain", n]; asan += runs["asan", n]; all += crashes[n]; seconds += time["plain", n]
    }
    printf "| **all** | | **%s** | %d | **%s** | **%d** | | | |\n", human(plain), seconds ? plain / seconds : 0, human(asan), all
    print ""
    printf "Goals: at least 1e9 plain runs: %s; 1e8 with the sanitizer: %s; every canary within 60 s: ", (plain >= 1e9 ? "met" : "**not met**"), (asan >= 1e8 ? "met" : "**not met**")
    for (i = 1; i <= count; i++) { n = name[i]; if (!(n in tried)) missing++; else if (canary[n] == "not found") unfound++ }
    if (missing || unfound) printf "**not met** (%d not found, %d not run).\n", unfound, missing; else print "met."
}
