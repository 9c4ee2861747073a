// Package record turns the samples of a session into fragments and segments on one or two disks,
// together with the session log that proves them, and seals the session at its end.
//
// Guarantees, on each disk by itself (evidence-format.md section 4):
//
//   - W1: a sign line is written only after the media it covers were synced there, and at most
//     ahead_ms of media per channel lie beyond the last durable sign line.
//   - W2: the order is media, sync, session log, sync, device ledger, sync. With Options.OneBarrier the
//     log of one cycle goes out with the media of the next, and one sync covers both: the log of a
//     cycle still comes after its media is durable.
//   - W3: open is folder, certificates, open+sign, then a ledger head; seal is segments closed, close,
//     seal, sign, then ledger head, manifest.json, manifest.json.p7s, then the ledger's sealed line.
//   - A file is readable while it is written; its first sample is a keyframe; each hole in a channel's
//     media is a gap line written before the fragment after it.
//   - Two recorders never write to one disk at the same time: the later one is told that it is taken.
//   - A disk that fails, fills or hangs never delays the other, nor whoever delivers samples. Memory
//     is bounded by Options.QueueBytes for each disk.
//
// It does not reconnect sources or measure their clocks (package capture does), does not repair what a
// power cut left (package record/recovery does), and does not copy a session to a disk that was away.
//
// Who runs what: [Recorder.Run] owns a goroutine for each disk, which executes batches in order. Each
// [Session] has one goroutine that owns its fragments and its log. Samples reach it through a queue.
package record
