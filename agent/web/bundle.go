package web

import (
	"archive/zip"
	"context"
	"io"
	"io/fs"
	"net/http"
	"time"
)

// bundle sends a sealed session whole, as it lies on the disk: a ZIP with the folder in it, nothing
// compressed and nothing kept aside, made while it is sent. The README stands beside the folder, for
// in it the verifier would find it foreign.
func (s *Server) bundle(w http.ResponseWriter, r *http.Request, _ User) error {
	select {
	case s.sending <- struct{}{}:
		defer func() { <-s.sending }()
	default:
		return errBusy
	}
	x, err := s.o.Store.Get(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	if x.State != "sealed" && x.State != "recovered" {
		return &Error{http.StatusConflict, "not-sealed", "此会话尚未封存，不能下载整套。请在封存后重试。", "This session is not sealed yet, so it cannot be taken whole. Try again once it is."}
	}
	action := "export"
	if r.URL.Query().Get("copy") != "" { // for a party, against a receipt
		action = "copy"
	}
	if _, err := s.look(r, action, "", 0); err != nil {
		return err
	}
	folder, err := s.o.Store.OpenFolder(r.Context(), x.ID)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/zip")
	w.Header().Set("Content-Disposition", `attachment; filename="`+fileName(x.ID)+`.zip"`)
	if err := writeBundle(r.Context(), w, folder, x.ID); err != nil {
		s.o.Log.Error("a session was not sent whole", "session", x.ID, "err", err)
		panic(http.ErrAbortHandler) // net/http's way to break off: a ZIP cut short may not look like a whole one
	}
	return nil
}

// writeBundle writes the README and each regular file of folder, below id.
func writeBundle(ctx context.Context, w io.Writer, folder fs.FS, id string) error {
	z := zip.NewWriter(w)
	f, err := z.CreateHeader(&zip.FileHeader{Name: "README.txt", Method: zip.Store})
	if err == nil {
		_, err = io.WriteString(f, bundleReadme(id))
	}
	if err != nil {
		return err
	}
	err = fs.WalkDir(folder, ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		return pack(z, folder, name, id+"/"+name)
	})
	if err != nil {
		return err
	}
	return z.Close()
}

func pack(z *zip.Writer, folder fs.FS, name, as string) error {
	f, err := folder.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	h := &zip.FileHeader{Name: as, Method: zip.Store}
	if info, err := f.Stat(); err == nil {
		h.Modified = info.ModTime().UTC().Truncate(time.Second)
	}
	to, err := z.CreateHeader(h)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, f)
	return err
}

func bundleReadme(id string) string {
	return "\uFEFF" + `会话 ` + id + `

本 ZIP 是该会话的整套文件，与录制设备磁盘上的完全相同：录音录像（.mp4）、已签名的日志
（log.jsonl）、封存清单及其签名（manifest.json、manifest.json.p7s）和设备证书（device.pem）。

核验：
1. 解压，保持文件夹名 ` + id + ` 不变，不要在其中增删改任何文件。
2. 另行从录制单位取得受信任的设备证书（或其上级证书），放入一个文件夹，例如 trust，
   文件名以 .pem 结尾（设备证书可在设备上用 minglu-agent trust 打印）。
   不要使用本 ZIP 内的 device.pem：它只说明由谁签名，不能为自己担保。
3. 运行：minglu-agent verify --trust trust ` + id + `
   结果 0：完好、已签名、完整；3：内容可信，但有需说明之处（暂停、缺口等，逐项列出）；
   1：有内容被改动、缺失或来历不明；2：无法核验。
录像可用一般播放软件直接打开；核验不需要联网，也不改动任何文件。

Session ` + id + `

This ZIP holds the whole session, just as it lies on the recording device's disk: media (.mp4), the
signed log (log.jsonl), the sealed manifest with its signature (manifest.json, manifest.json.p7s) and
the device's certificate (device.pem).

To verify:
1. Unpack it. Keep the name of the folder, ` + id + `; add, change and remove nothing in it.
2. Get the trusted certificate of the device, or that of its authority, from the body that recorded,
   by another way than this ZIP, and put it in a folder, say trust, as a file ending in .pem (on the
   device, minglu-agent trust prints its own). The device.pem in here tells who signed; it cannot
   vouch for itself.
3. Run: minglu-agent verify --trust trust ` + id + `
   Result 0: intact, signed and whole; 3: genuine, with something to explain (breaks, gaps; each is
   listed); 1: something is altered, missing or foreign; 2: not checkable.
Any common player shows the media. Verifying needs no network and changes no file.
`
}
