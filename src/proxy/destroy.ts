/** Removes a cluster's service rules from the machine. Idempotent. */
import { tableName } from './nft.ts';
import { listTables, NftError, runNft } from '#stdx/run-nft.ts';

export async function destroyServiceProxy(clusterId: string): Promise<void> {
  const table = tableName(clusterId);
  try {
    const script = ['ip', 'ip6'].map(
      (family) => `add table ${family} ${table}\ndelete table ${family} ${table}\n`,
    );
    await runNft(script.join(''));
  } catch (error) {
    if (!(error instanceof NftError && error.missing)) throw error;
  }
}

/** IDs of the clusters that have service rules on this machine. Empty when nft is not installed or not permitted. */
export async function serviceProxyIds(): Promise<string[]> {
  const prefix = tableName('');
  const tables = await listTables(['ip', 'ip6']).catch((error: unknown) => {
    if (error instanceof NftError) return [];
    throw error;
  });
  return tables.filter((table) => table.startsWith(prefix)).map((table) => table.slice(prefix.length));
}
