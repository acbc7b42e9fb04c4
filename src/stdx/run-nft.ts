/** Runs nft: a script on standard input, one transaction per call. */
import { spawn } from 'node:child_process';

export class NftError extends Error {
  readonly missing: boolean;
  constructor(message: string, options: { readonly missing?: boolean } = {}) {
    super(message);
    this.name = 'NftError';
    this.missing = options.missing ?? false;
  }
}

const MAX_ERROR_TEXT = 2_000;
const PATH = `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin`;

/** A script for nft, applied as one transaction. */
export async function runNft(script: string): Promise<void> {
  await run(['-f', '-'], script);
}

export interface TableAt {
  /** As nft names the address family. */
  readonly family: 'ip' | 'ip6' | 'inet' | 'bridge';
  readonly table: string;
}

/** Whether the table has this chain, with this text in it. Cheap enough for frequent checks. */
export async function chainContains(
  { family, table }: TableAt,
  { chain, text }: { readonly chain: string; readonly text: string },
): Promise<boolean> {
  return run(['list', 'chain', family, table, chain]).then(
    (listed) => listed.includes(text),
    (error: unknown) => {
      if (error instanceof NftError && !error.missing) return false;
      throw error;
    },
  );
}

/** Names of all tables of these families. */
export async function listTables(families: readonly TableAt['family'][]): Promise<string[]> {
  const { nftables } = JSON.parse(await run(['-j', 'list', 'tables'])) as {
    readonly nftables: readonly { readonly table?: { readonly family: string; readonly name: string } }[];
  };
  const wanted: readonly string[] = families;
  const names = nftables.flatMap(({ table }) => (table && wanted.includes(table.family) ? [table.name] : []));
  return [...new Set(names)];
}

interface TableCounts {
  readonly rulesOfChain: ReadonlyMap<string, number>;
  readonly elementsOf: ReadonlyMap<string, number>;
}

interface Listed {
  readonly chain?: { readonly name: string };
  readonly rule?: { readonly chain: string };
  readonly map?: { readonly name: string; readonly elem?: readonly unknown[] };
  readonly set?: { readonly name: string; readonly elem?: readonly unknown[] };
}

/** Number of rules and elements in each chain, map and set of the kernel's table. */
async function countTable({ family, table }: TableAt): Promise<TableCounts> {
  const { nftables } = JSON.parse(await run(['-j', 'list', 'table', family, table])) as {
    readonly nftables: readonly Listed[];
  };
  const rulesOfChain = new Map<string, number>();
  const elementsOf = new Map<string, number>();
  for (const { chain, rule, map, set } of nftables) {
    if (chain) rulesOfChain.set(chain.name, rulesOfChain.get(chain.name) ?? 0);
    if (rule) rulesOfChain.set(rule.chain, (rulesOfChain.get(rule.chain) ?? 0) + 1);
    const keyed = map ?? set;
    if (keyed) elementsOf.set(keyed.name, keyed.elem?.length ?? 0);
  }
  return { rulesOfChain, elementsOf };
}

/** Whether the kernel's table has another number of rules or elements somewhere. Content beside `wanted` is not looked at. */
export async function tableDiffers(
  at: TableAt,
  wanted: {
    readonly chains: ReadonlyMap<string, readonly string[]>;
    readonly elements: ReadonlyMap<string, ReadonlyMap<string, string>>;
  },
): Promise<boolean> {
  const found = await countTable(at);
  return (
    [...wanted.chains].some(([name, rules]) => found.rulesOfChain.get(name) !== rules.length) ||
    [...wanted.elements].some(([name, elements]) => found.elementsOf.get(name) !== elements.size)
  );
}

/** The elements of a set of single keys. */
export async function listSet({ family, table }: TableAt, set: string): Promise<string[]> {
  const { nftables } = JSON.parse(await run(['-j', 'list', 'set', family, table, set])) as {
    readonly nftables: readonly Listed[];
  };
  return nftables.flatMap((item) => item.set?.elem ?? []).filter((elem) => typeof elem === 'string');
}

function run(words: readonly string[], input = ''): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn('nft', words, { stdio: ['pipe', 'pipe', 'pipe'], env: { ...process.env, PATH } });
    let out = '';
    let problems = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      out += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      if (problems.length < MAX_ERROR_TEXT) problems += text;
    });
    child.on('error', (error: NodeJS.ErrnoException) =>
      reject(
        error.code === 'ENOENT'
          ? new NftError('nft is not installed: apt-get install nftables', { missing: true })
          : error,
      ),
    );
    child.on('close', (code) =>
      code === 0
        ? resolve(out)
        : reject(
            new NftError(
              `nft refused ${words[0] === '-f' ? 'a change' : `"${words.join(' ')}"`}: ${problems.slice(0, MAX_ERROR_TEXT).trim()}`,
            ),
          ),
    );
    child.stdin.on('error', () => {});
    child.stdin.end(input);
  });
}
