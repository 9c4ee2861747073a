// The page of the simulated room: shows /sim/state each second and posts what is touched.
const words = {
  button: '按钮 Button', door: '门打开 Door open', presence: '有人 Somebody is there',
  black: '黑屏 Black', frozen: '画面冻结 Frozen', covered: '镜头被遮 Covered', 'no-frames': '无画面 No frames',
  silence: '无声 Silence', clipping: '削波 Clipping', gone: '断开 Gone', 'clock-step': '时钟跳变 10 s Clock step',
  mains: '停电 Mains lost', 'worn-out': '电池只剩 40 s Battery worn out', rtc: '时钟电池没电 Clock battery dead',
  idle: '空闲 Idle', recording: '正在录制 Recording', paused: '暂停 Paused', impaired: '录制受损 Impaired', fault: '故障 Fault',
};
const say = (w) => words[w] ?? w;
const byId = (id) => document.getElementById(id);
const buttons = new Map();

async function post(path) {
  const answer = await fetch(path, { method: 'POST' }).catch((e) => ({ ok: false, text: async () => String(e) }));
  byId('problem').textContent = answer.ok ? '' : await answer.text();
  await refresh();
}

// button makes the button for a key once, and shows whether it is on.
function button(parent, key, label, on, act) {
  let b = buttons.get(key);
  if (!b) {
    b = document.createElement('button');
    b.textContent = label;
    buttons.set(key, b);
    parent.append(b);
  }
  if (on !== null) b.setAttribute('aria-pressed', String(on));
  b.onclick = () => act(!on);
}

function group(parent, key, title) {
  let g = buttons.get(key);
  if (!g) {
    g = document.createElement('div');
    const h = document.createElement('h3');
    h.textContent = title;
    g.append(h);
    buttons.set(key, g);
    parent.append(g);
  }
  return g;
}

async function refresh() {
  const answer = await fetch('/sim/state').catch(() => null);
  if (!answer?.ok) {
    byId('lamp').textContent = '没有连接 No connection';
    return;
  }
  const s = await answer.json();
  byId('lamp').textContent = s.lamp?.length ? say(s.lamp.at(-1).state) : '–';
  for (const [kind, on] of Object.entries(s.inputs)) {
    if (kind === 'button') {
      button(byId('inputs'), 'press', '按一下按钮 Press the button', null, () => post('/sim/button'));
      button(byId('inputs'), 'hold', '按住 3 s Hold for 3 s', null, () => post('/sim/button?hold=3200ms'));
    } else {
      button(byId('inputs'), kind, say(kind), on, (to) => post(`/sim/${kind}?on=${to}`));
    }
  }
  if (s.can_scan) {
    button(byId('inputs'), 'scan', '扫案号 Scan a case', null, () => {
      const code = prompt('案号 Case number');
      if (code) post(`/sim/scan?code=${encodeURIComponent(code)}`);
    });
  }
  for (const c of s.channels) {
    const g = group(byId('faults'), 'channel ' + c.id, c.id);
    for (const f of c.can) {
      button(g, c.id + ' ' + f, say(f), c.faults.includes(f), (to) => post(`/sim/fault/${f}?channel=${c.id}&on=${to}`));
    }
  }
  const faulty = { mains: s.power?.mains === false, 'worn-out': s.power?.worn_out, rtc: s.rtc?.stopped };
  for (const f of [...(s.power ? ['mains', 'worn-out'] : []), ...(s.rtc ? ['rtc'] : [])]) {
    button(group(byId('faults'), 'power', '电源 Power'), f, say(f), faulty[f], (to) => post(`/sim/fault/${f}?on=${to}`));
  }
  if (s.can_step_clock) {
    button(group(byId('faults'), 'board', '时钟 Clock'), 'clock-step', say('clock-step'), s.clock_step_ns !== 0, (to) => post(`/sim/fault/clock-step?on=${to}`));
  }
}

refresh();
setInterval(refresh, 1000);
