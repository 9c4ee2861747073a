// Package ledger writes the logs of evidence: session logs and recovery files in memory, and the
// device ledger, whose master it keeps durable in the state folder.
//
// A log only grows. A line is added whole or not at all; what Ledger returned as signed survives a
// power cut; what a power cut left behind the last signature is set aside, not deleted. The write
// order of the device ledger is: master lines, sync, then (called by others) the copies on the disks
// and publication.
//
// It proves what it is asked to of the device ledger (consistency, inclusion) without keeping the whole
// tree in memory, and keeps beside it what the outside gave for its checkpoints.
//
// It does not write session logs to disks (record does), does not talk to witnesses, and does not
// know what the lines mean beyond numbering them.
package ledger
