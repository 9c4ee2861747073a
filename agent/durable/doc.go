// Package durable writes files so that they survive a power cut. It is the only code that calls fsync.
//
// Each verb says when its data is durable (survives a power cut) and when it is visible (others see it
// under its name). Whatever a verb returns an error for is neither promised nor excluded: the file may
// be absent, old or new, but never a mixture under its final name. After an error of a sync the kernel
// may have dropped the bytes and call the next sync a success, so a [File] that failed once fails for ever.
//
// The write order of Create, CreateSame and Replace. A cut after any step leaves the old state or the new one:
//
//  1. write the bytes to a new file (O_EXCL) in Files.Tmp
//  2. fsync that file: the bytes are durable, under a name nobody looks at
//  3. rename it to its final name: visible
//  4. fsync the folder: the name is durable
//
// What a cut leaves in Tmp is litter; [Files.Sweep] takes it away at the next start.
//
// It does not lock: two writers of one name decide by the last rename. It does not know how much the
// medium lies about its cache.
package durable
