package evidence

import (
	"bytes"
	"fmt"
)

// LateTail is the kind of the amendment that tells of a late tail: after a session was sealed from a
// recovery, a disk came back whose log was signed further (evidence-format.md R10). Its Data names the log
// as it is from then on (log, size in lines, root), and the recovery file that continues it (recovery,
// sha256). That file takes the place of the one the manifest was derived from.
const LateTail = "late-tail"

// continued returns what the first line of a recovery file says it continues, ok false if it says nothing.
func continued(data []byte) (r Recovery, ok bool) {
	raw, _, whole := bytes.Cut(data, []byte{'\n'})
	l, err := ParseLine(raw)
	return r, whole && err == nil && l.Type == "recovery" && l.Decode(&r) == nil
}

// Superseded tells, per log file in order, whether a later recovery file takes its place: one that
// continues the same log from a larger size on. Of a superseded file only its aside lines count.
func Superseded(logs []LogFile) []bool {
	out := make([]bool, len(logs))
	for i := 1; i < len(logs); i++ {
		a, ok := continued(logs[i].Data)
		for _, later := range logs[i+1:] {
			b, ok2 := continued(later.Data)
			out[i] = out[i] || ok && ok2 && a.Of == b.Of && a.Size < b.Size
		}
	}
	return out
}

// SealedLogs returns the logs as they were when the manifest m was derived from them: if a late tail came
// after it, without it. It returns all where m names no superseded file last.
func SealedLogs(logs []LogFile, m *Manifest) []LogFile {
	n := len(m.Logs) - 1
	if n < 1 || n >= len(logs) || !Superseded(logs)[n] {
		return logs
	}
	r, _ := continued(logs[n].Data)
	out := bytes.SplitAfterN(logs[0].Data, []byte{'\n'}, int(min(r.Size+2, int64(len(logs[0].Data)))))
	if int64(len(out)) < r.Size+1 {
		return logs // the log does not reach there: V11 says so
	}
	var end int
	for _, line := range out[:r.Size+1] { // with the sign line, number r.Size
		end += len(line)
	}
	return append([]LogFile{{File: logs[0].File, Data: logs[0].Data[:end]}}, logs[1:n+1]...)
}

// LateTailData returns the Data of a late-tail amendment over these logs, the last of which is the
// recovery file.
func LateTailData(logs []LogFile) map[string]string {
	var t Tree
	for line := range bytes.Lines(logs[0].Data) {
		t.Append(bytes.TrimSuffix(line, []byte{'\n'}))
	}
	last := logs[len(logs)-1]
	return map[string]string{"log": logs[0].File, "size": fmt.Sprint(t.Size()), "root": t.Root().String(),
		"recovery": last.File, "sha256": DigestFile(last.File, last.Data).SHA256}
}

// logFiles are the whole lines of the session's logs.
func (c *copyCheck) logFiles() (out []LogFile) {
	for _, l := range c.logs {
		out = append(out, LogFile{File: l.file, Data: l.data[:bytes.LastIndexByte(l.data, '\n')+1]})
	}
	return out
}

// lateTails wants an amendment for each recovery file that came after the seal (R10).
func (c *copyCheck) lateTails() {
	m, err := ParseManifest(c.manifest)
	if c.manifest == nil || err != nil || len(SealedLogs(c.logFiles(), m)) == len(c.logs) {
		return
	}
	logs := c.logFiles()
	want := LateTailData(logs)
	for _, a := range c.res.Amendments {
		if a.Kind != LateTail || a.Data["recovery"] != want["recovery"] {
			continue
		}
		for k, v := range want {
			if a.Data[k] != v {
				c.found(FindingAltered, AmendmentName(a.N), fmt.Sprintf("its %s is not what the late tail is", k))
				return
			}
		}
		return
	}
	c.found(FindingMissing, logs[len(logs)-1].File, "a late tail after the seal, and no amendment that tells of it")
}

// sealedAt is the wall time of the end that the manifest tells; of the last end without one. µs.
func (c *copyCheck) sealedAt() int64 {
	if m, err := ParseManifest(c.manifest); c.manifest != nil && err == nil {
		return m.Closed.T
	}
	return c.closedMark.T
}
