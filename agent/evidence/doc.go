// Package evidence is the format in which a recording proves itself: lines, their tree, signatures
// over it, the manifest that ends a session, and the verifier that judges all of it.
//
// The exact definitions are in docs/evidence-format.md; this package is their first implementation
// and cites its sections. What it writes is deterministic: the same facts give the same bytes,
// salts excepted, which the caller draws. What it reads is bounded and strict: bytes that are not
// exactly what this package would have written are refused, never repaired.
//
// It opens no file, knows no clock and starts no goroutine. It does not make anything durable and
// does not decide when to sign: packages ledger and record do.
//
// Outside proofs are read and put together here, never fetched: tokens ([NormalToken], [VerifyToken]),
// checkpoints with their proofs and cosignatures ([Checkpoint], [FullTree], [Cosign]), anchor files
// ([BuildAnchor], [ParseAnchor]).
//
// Writers call [MarshalLine], [Tree.Append], [Signer.SignLine], [DeriveManifest] and
// [SignManifest]; readers call [ParseLine], [Decide], [CheckCMS], or all at once through Verify.
package evidence
