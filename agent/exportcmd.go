package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"minglu/agent/evidence"
	"minglu/agent/export"
	"minglu/agent/store"
)

// export packs one session for somebody outside.
func (c *commands) export(stdout, stderr io.Writer) int {
	x := c.Export
	if !sessionID.MatchString(x.Session) {
		fmt.Fprintf(stderr, "export: %q 不是会话编号 / is no session id\n", x.Session)
		return exitUsage
	}
	if st, err := os.Stat(x.To); err != nil || !st.IsDir() {
		fmt.Fprintf(stderr, "export: --to %s: 请给出已存在的文件夹 / name a folder that is there\n", x.To)
		return exitUsage
	}
	return withOffline(x.Config, "minglu-agent export", stderr, func(ctx context.Context, o *offline) (int, error) {
		return o.export(ctx, x.Session, x.To, x.Who, stdout, stderr)
	})
}

func (o *offline) export(ctx context.Context, session, to, who string, stdout, stderr io.Writer) (int, error) {
	s := &sessions{disks: func() []store.Disk { return append(o.folders(), adoptedDisks(o.cfg.State)...) }, results: filepath.Join(o.cfg.State, resultsFolder)}
	dirs := s.folders(session)
	if len(dirs) == 0 {
		return exitUsage, fmt.Errorf("没有会话 %s / there is no session %s on the disks that are here", session, session)
	}
	if _, err := os.Lstat(filepath.Join(to, session)); err == nil {
		return exitUsage, fmt.Errorf("%s: %w", filepath.Join(to, session), export.ErrExists)
	}
	row := store.FromFolder(s.disks(), session)
	ref, err := registerExport(o.cfg.State, cmp.Or(row.Body.USCC, o.cfg.Body.USCC), row.Case, session, who, to)
	if err != nil {
		return exitFailed, err
	}
	if err := o.append(evidence.AccessRef{Session: session, Ref: ref}); err != nil { // before the first byte
		return exitFailed, err
	}
	verdict, err := verifyCopies(ctx, o, dirs, stderr)
	if err != nil {
		return exitFailed, err
	}
	from, err := s.OpenFolder(ctx, session)
	if err != nil {
		return exitFailed, err
	}
	more, err := o.proofs(session)
	if err != nil {
		return exitFailed, err
	}
	if more["proofs/verification.json"], err = json.MarshalIndent(verdict, "", "  "); err != nil {
		return exitFailed, err
	}
	bag, err := export.Write(ctx, export.Options{
		Session: session, From: from, To: to, More: more, Progress: exportLine(stderr),
		Info: [][2]string{
			{"Source-Organization", cmp.Or(row.Body.Name, o.cfg.Body.Name)}, {"Contact-Name", cmp.Or(who, "-")},
			{"External-Identifier", session}, {"External-Description", strings.TrimSpace(row.Case + " " + row.Matter)},
			{"Bagging-Date", time.Now().UTC().Format(time.DateOnly)}, {"Bag-Software-Agent", "minglu-agent " + buildVersion()},
			{"Minglu-Device", o.id.D}, {"Minglu-Access", ref},
		},
	})
	if err != nil {
		return exitFailed, err
	}
	fmt.Fprintf(stdout, "已导出 exported: %s (%d 个文件 files, %d bytes)\n核验 check: sh %s\n", bag.Dir, bag.Files, bag.Bytes, filepath.Join(bag.Dir, "verify.sh"))
	if verdict.Exit == evidence.ExitBad || verdict.Exit == evidence.ExitUnchecked {
		fmt.Fprintf(stdout, "注意：核验退出码 %d，详见 proofs/verification.json / note: the verifier exits %d, see proofs/verification.json\n", verdict.Exit, verdict.Exit)
	}
	return exitGood, nil
}

// verifyCopies tells what the verifier says of all copies of the session, by what this device trusts.
func verifyCopies(ctx context.Context, o *offline, dirs []string, stderr io.Writer) (evidence.Result, error) {
	var places []evidence.Place
	for _, dir := range dirs {
		places = append(places, evidence.Place{Path: filepath.ToSlash(dir), FS: ctxFS{ctx, os.DirFS(dir)}})
	}
	r := evidence.VerifyPlaces(places, evidence.VerifyOptions{Trust: o.trust(), Require: evidence.DefaultRequire, Progress: progressLine(stderr)})
	return r, context.Cause(ctx)
}

// proofs are the session's lines of the ledger with what shows that they are in it. A session of an earlier
// generation, or of another device, has none here.
func (o *offline) proofs(session string) (map[string][]byte, error) {
	more := map[string][]byte{}
	b, err := o.ledger.BytesFrom(0)
	if err != nil {
		return nil, err
	}
	lines := evidence.SessionLines(b, session)
	named := false
	for _, l := range lines {
		named = named || strings.Contains(string(l.Line), session)
	}
	if !named {
		return more, nil
	}
	c, err := o.ledger.Checkpoint()
	if err != nil {
		return nil, err
	}
	a, err := evidence.BuildAnchor(c, lines, o.ledger.Inclusion, nil, nil)
	if err != nil {
		return nil, errors.Join(errors.New("ledger proofs"), err)
	}
	more["proofs/"+filepath.Base(evidence.AnchorName(c.Size))] = a
	return more, nil
}

// exportLine shows, at most once a second, how far a long export is.
func exportLine(w io.Writer) func(string, int64, int64) {
	next := time.Now().Add(time.Second)
	return func(file string, done, total int64) {
		if now := time.Now(); now.After(next) {
			next = now.Add(time.Second)
			fmt.Fprintf(w, "export: %s: %d of %d MB\n", file, done>>20, total>>20)
		}
	}
}
