/** Running the nft program: a script on its standard input, one transaction a call. */
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

export function runNft(script: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn('nft', ['-f', '-'], { stdio: ['pipe', 'pipe', 'pipe'], env: { ...process.env, PATH } });
    let out = '';
    let problems = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => { out += text; });
    child.stderr.setEncoding('utf8').on('data', (text: string) => { if (problems.length < MAX_ERROR_TEXT) problems += text; });
    child.on('error', (error: NodeJS.ErrnoException) => reject(error.code === 'ENOENT' ? new NftError('nft is not installed: apt-get install nftables', { missing: true }) : error));
    child.on('close', (code) => (code === 0 ? resolve(out) : reject(new NftError(`nft refused a change: ${problems.slice(0, MAX_ERROR_TEXT).trim()}`))));
    child.stdin.on('error', () => {});
    child.stdin.end(script);
  });
}
