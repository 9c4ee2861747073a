package sim

// zigzag maps scan position to raster position, frame scan of ITU-T H.264 6.4.3 and figure 8-8 (a).
var zigzag = [16]int{0, 1, 4, 8, 5, 2, 3, 6, 9, 12, 13, 10, 7, 11, 14, 15}

// Code lengths and codes of ITU-T H.264 tables 9-5 (0 <= nC < 2, and nC = -1), 9-7, 9-9 (a) and 9-10.
// coeff_token is indexed by 4*TotalCoeff + TrailingOnes.
var (
	tokenLen = [68]byte{1, 0, 0, 0, 6, 2, 0, 0, 8, 6, 3, 0, 9, 8, 7, 5, 10, 9, 8, 6, 11, 10, 9, 7, 13, 11, 10, 8, 13, 13, 11, 9, 13, 13, 13, 10,
		14, 14, 13, 11, 14, 14, 14, 13, 15, 15, 14, 14, 15, 15, 15, 14, 16, 15, 15, 15, 16, 16, 16, 15, 16, 16, 16, 16, 16, 16, 16, 16}
	tokenBits = [68]byte{1, 0, 0, 0, 5, 1, 0, 0, 7, 4, 1, 0, 7, 6, 5, 3, 7, 6, 5, 3, 7, 6, 5, 4, 15, 6, 5, 4, 11, 14, 5, 4, 8, 10, 13, 4,
		15, 14, 9, 4, 11, 10, 13, 12, 15, 14, 9, 12, 11, 10, 13, 8, 15, 1, 9, 12, 11, 14, 13, 8, 7, 10, 9, 12, 4, 6, 5, 8}
	tokenLenC  = [20]byte{2, 0, 0, 0, 6, 1, 0, 0, 6, 6, 3, 0, 6, 7, 7, 6, 6, 8, 8, 7}
	tokenBitsC = [20]byte{1, 0, 0, 0, 7, 1, 0, 0, 4, 6, 1, 0, 3, 3, 2, 5, 2, 3, 2, 0}
	zerosLen   = [15][]byte{{1, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 9}, {3, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 6, 6, 6, 6},
		{4, 3, 3, 3, 4, 4, 3, 3, 4, 5, 5, 6, 5, 6}, {5, 3, 4, 4, 3, 3, 3, 4, 3, 4, 5, 5, 5}, {4, 4, 4, 3, 3, 3, 3, 3, 4, 5, 4, 5},
		{6, 5, 3, 3, 3, 3, 3, 3, 4, 3, 6}, {6, 5, 3, 3, 3, 2, 3, 4, 3, 6}, {6, 4, 5, 3, 2, 2, 3, 3, 6}, {6, 6, 4, 2, 2, 3, 2, 5},
		{5, 5, 3, 2, 2, 2, 4}, {4, 4, 3, 3, 1, 3}, {4, 4, 2, 1, 3}, {3, 3, 1, 2}, {2, 2, 1}, {1, 1}}
	zerosBits = [15][]byte{{1, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 1}, {7, 6, 5, 4, 3, 5, 4, 3, 2, 3, 2, 3, 2, 1, 0},
		{5, 7, 6, 5, 4, 3, 4, 3, 2, 3, 2, 1, 1, 0}, {3, 7, 5, 4, 6, 5, 4, 3, 3, 2, 2, 1, 0}, {5, 4, 3, 7, 6, 5, 4, 3, 2, 1, 1, 0},
		{1, 1, 7, 6, 5, 4, 3, 2, 1, 1, 0}, {1, 1, 5, 4, 3, 3, 2, 1, 1, 0}, {1, 1, 1, 3, 3, 2, 2, 1, 0}, {1, 0, 1, 3, 2, 1, 1, 1},
		{1, 0, 1, 3, 2, 1, 1}, {0, 1, 1, 2, 1, 3}, {0, 1, 1, 1, 1}, {0, 1, 1, 1}, {0, 1, 1}, {0, 1}}
	zerosLenC  = [3][]byte{{1, 2, 3, 3}, {1, 2, 2}, {1, 1}}
	zerosBitsC = [3][]byte{{1, 1, 1, 0}, {1, 1, 0}, {1, 0}}
	runLen     = [7][]byte{{1, 1}, {1, 2, 2}, {2, 2, 2, 2}, {2, 2, 2, 3, 3}, {2, 2, 3, 3, 3, 3}, {2, 3, 3, 3, 3, 3, 3}, {3, 3, 3, 3, 3, 3, 3, 4, 5, 6, 7, 8, 9, 10, 11}}
	runBits    = [7][]byte{{1, 0}, {1, 1, 0}, {3, 2, 1, 0}, {3, 2, 1, 1, 0}, {3, 2, 3, 2, 1, 0}, {3, 0, 1, 3, 2, 5, 4}, {7, 6, 5, 4, 3, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1}}
)

// block writes residual_block_cavlc (H.264 7.3.5.3.2, 9.2) for levels c in scan order. nc is 0, 8, 16, or -1 for chroma DC.
func (w *bitWriter) block(c []int, nc int) {
	var lev, run [16]int
	n, zeros, ones := 0, 0, 0
	for i := len(c) - 1; i >= 0; i-- { // highest frequency first
		if c[i] != 0 {
			lev[n] = c[i]
			n++
		} else if n > 0 {
			run[n-1]++
			zeros++
		}
	}
	for ones < n && ones < 3 && (lev[ones] == 1 || lev[ones] == -1) {
		ones++
	}
	switch t := 4*n + ones; {
	case nc < 0:
		w.u(int(tokenLenC[t]), uint32(tokenBitsC[t]))
	case nc < 2:
		w.u(int(tokenLen[t]), uint32(tokenBits[t]))
	case n == 0:
		w.u(6, 3)
	default: // nc >= 8: I_PCM neighbours count 16, so 2 to 7 never come up
		w.u(6, uint32((n-1)<<2|ones))
	}
	if n == 0 {
		return
	}
	sl := b2i(n > 10 && ones < 3)
	for i, v := range lev[:n] {
		if i < ones {
			w.u(1, uint32(b2i(v < 0)))
			continue
		}
		a := max(v, -v)
		lc := 2*a - 2 + b2i(v < 0)
		if i == ones && ones < 3 {
			lc -= 2
		}
		switch {
		case sl == 0 && lc < 14:
			w.u(lc+1, 1)
		case sl == 0 && lc < 30:
			w.u(15, 1)
			w.u(4, uint32(lc-14))
		case sl > 0 && lc < 15<<sl:
			w.u(lc>>sl+1, 1)
			w.u(sl, uint32(lc&(1<<sl-1)))
		default:
			w.u(16, 1)
			w.u(12, uint32(lc-max(15<<sl, 30)))
		}
		if sl == 0 {
			sl = 1
		}
		if a > 3<<(sl-1) && sl < 6 {
			sl++
		}
	}
	if n < len(c) {
		if nc < 0 {
			w.u(int(zerosLenC[n-1][zeros]), uint32(zerosBitsC[n-1][zeros]))
		} else {
			w.u(int(zerosLen[n-1][zeros]), uint32(zerosBits[n-1][zeros]))
		}
	}
	for i := 0; i < n-1 && zeros > 0; i++ {
		t := min(zeros, 7) - 1
		w.u(int(runLen[t][run[i]]), uint32(runBits[t][run[i]]))
		zeros -= run[i]
	}
}
