/**
 * Faults of the file system under a folder, for tests: every change that this process makes there is announced first, and an error thrown then is what the
 * caller gets instead of the change. Node's own functions are replaced while it lasts, so it reaches all code of the process; one at a time.
 */
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { basename, join } from 'node:path';

/** 'write .ca.key.1.tmp': a function of node:fs without Sync, and the file's name; numbers of processes are 1. */
type Announce = (change: string) => void;

type Any = (...parameters: unknown[]) => unknown;

const CHANGES = ['rename', 'unlink', 'mkdir', 'writeFile'] as const;

interface Interception {
  readonly root: string;
  readonly before: Announce;
}

/** Returns the function that ends it. */
export function interceptFiles(interception: Interception): () => void {
  const { root } = interception;
  const undo: (() => void)[] = [];
  const names = new Map<number, string>();
  const announce = (operation: string, path: string): void =>
    interception.before(`${operation} ${basename(path).replace(/\.\d+\.tmp$/, '.1.tmp')}`);
  const isOurs = (path: unknown): path is string => typeof path === 'string' && path.startsWith(root);
  const replace = (holder: object, name: string, make: (real: Any) => Any): void => {
    const table = holder as Record<string, Any>;
    const real = table[name]!;
    table[name] = make(real.bind(holder) as Any);
    undo.push(() => void (table[name] = real));
  };
  for (const change of CHANGES) {
    const wrap =
      (real: Any): Any =>
      (...parameters) => {
        if (isOurs(parameters[0])) announce(change, parameters[0]);
        return real(...parameters);
      };
    replace(fs.promises, change, asyncly(wrap));
    replace(fs, `${change}Sync`, wrap);
  }
  replace(fs, 'openSync', (real) => (path, flags, ...rest) => {
    if (isOurs(path) && isWriting(flags)) announce('open', path);
    const file = real(path, flags, ...rest) as number;
    if (isOurs(path)) names.set(file, path);
    return file;
  });
  for (const change of ['write', 'fsync'] as const)
    replace(fs, `${change}Sync`, (real) => (file, ...rest) => {
      const path = names.get(file as number);
      if (path !== undefined) announce(change, path);
      return real(file, ...rest);
    });
  replace(
    fs.promises,
    'open',
    asyncly((real) => async (path, flags, ...rest) => {
      if (isOurs(path) && isWriting(flags)) announce('open', path);
      const handle = (await real(path, flags, ...rest)) as object;
      if (isOurs(path))
        for (const [name, change] of [
          ['writeFile', 'write'],
          ['sync', 'fsync'],
        ] as const)
          announceHandle(handle, { name, announce: () => announce(change, path) });
      return handle;
    }),
  );
  // A folder goes file by file.
  replace(
    fs.promises,
    'rm',
    asyncly((real) => async (path, ...rest) => {
      if (isOurs(path) && fs.existsSync(path) && fs.statSync(path).isDirectory())
        for (const name of fs.readdirSync(path)) {
          announce('rm', join(path, name));
          await real(join(path, name), ...rest);
        }
      return real(path, ...rest);
    }),
  );
  syncBuiltinESMExports();
  return () => {
    for (const one of undo.toReversed()) one();
    syncBuiltinESMExports();
  };
}

function isWriting(flags: unknown): boolean {
  return typeof flags === 'string' && /[wa+]/.test(flags);
}

function asyncly(wrap: (real: Any) => Any): (real: Any) => Any {
  return (real) => {
    const wrapped = wrap(real);
    return async (...parameters) => wrapped(...parameters);
  };
}

function announceHandle(
  handle: object,
  { name, announce }: { readonly name: string; readonly announce: () => void },
): void {
  const table = handle as Record<string, Any>;
  const real = table[name]!.bind(handle) as Any;
  table[name] = async (...parameters) => {
    announce();
    return real(...parameters);
  };
}
