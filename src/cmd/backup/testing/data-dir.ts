/** A data directory as `capstan up` leaves it, without a store: for tests and the benchmark of backups. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { newClusterId } from '#deploy/data-dir.ts';

export function makeDataDir(path: string): void {
  mkdirSync(join(path, 'pki'), { recursive: true });
  writeFileSync(join(path, 'pki/ca.key'), 'secret', { mode: 0o600 });
  const settings = {
    format: 1,
    id: newClusterId(),
    httpsPort: 1,
    bindAddress: '127.0.0.1',
    runtime: 'simulated',
  };
  const rest = { nodes: 0, podCIDR: '10.0.0.0/16', serviceCIDR: '10.96.0.0/16' };
  writeFileSync(join(path, 'capstan.json'), JSON.stringify({ ...settings, ...rest }));
}
