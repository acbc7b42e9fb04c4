/** Checks the kernel settings that a node should have (the kubelet's --protect-kernel-defaults); never changes them. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

const WANTED: Readonly<Record<string, number>> = {
  'vm/overcommit_memory': 1,
  'vm/panic_on_oom': 0,
  'kernel/panic': 10,
  'kernel/panic_on_oops': 1,
  'kernel/keys/root_maxkeys': 1_000_000,
  'kernel/keys/root_maxbytes': 25_000_000,
};

/** The settings that differ: 'vm.overcommit_memory is 0, should be 1'. */
export async function kernelDefaultProblems(sysDir = '/proc/sys'): Promise<string[]> {
  const problems = await Promise.all(
    Object.entries(WANTED).map(async ([path, wanted]) => {
      const text = await readFile(join(sysDir, path), 'utf8').then(
        (content) => content.trim(),
        () => 'unreadable',
      );
      return text === String(wanted) ? [] : [`${path.replaceAll('/', '.')} is ${text}, should be ${wanted}`];
    }),
  );
  return problems.flat();
}
