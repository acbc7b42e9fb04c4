/** Progress of `up`: one line a step; on a terminal the running step is shown and overwritten, elsewhere only finished steps are printed. */

/** Why a step failed is not shown here: it is the sentence `up` ends with. */
interface StepMessage {
  readonly name: string;
  readonly state: 'started' | 'done' | 'failed';
}

interface Progress {
  step(message: StepMessage): void;
  note(text: string): void;
  end(): void;
}

export function createProgress(out: NodeJS.WriteStream = process.stderr): Progress {
  const started = new Map<string, number>();
  let shown = false;
  const clear = (): void => {
    if (shown) out.write('\r\u001b[K');
    shown = false;
  };
  const showRunning = (): void => {
    if (!out.isTTY || started.size === 0) return;
    out.write(`  … ${[...started.keys()].join(', ')}`);
    shown = true;
  };
  return {
    step({ name, state }) {
      clear();
      if (state === 'started') started.set(name, performance.now());
      else {
        const seconds = ((performance.now() - (started.get(name) ?? performance.now())) / 1000).toFixed(1);
        started.delete(name);
        out.write(`  ${state === 'done' ? '✓' : '✗'} ${name} (${seconds} s)\n`);
      }
      showRunning();
    },
    note(text) {
      clear();
      out.write(`${text}\n`);
      showRunning();
    },
    end: clear,
  };
}
