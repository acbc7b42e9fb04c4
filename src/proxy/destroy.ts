/** Removes a cluster's service rules from the machine. Idempotent. */
import { tableName } from './nft.ts';
import { listTables, NftError, runNft } from './run-nft.ts';

export async function destroyServiceProxy(clusterId: string): Promise<void> {
  const table = tableName(clusterId);
  try {
    await runNft(`add table ip ${table}\ndelete table ip ${table}\n`);
  } catch (error) {
    if (!(error instanceof NftError && error.missing)) throw error;
  }
}

/** IDs of the clusters that have service rules on this machine. Empty when nft is not installed or not permitted. */
export async function serviceProxyIds(): Promise<string[]> {
  const prefix = tableName('');
  const tables = await listTables().catch((error: unknown) => {
    if (error instanceof NftError) return [];
    throw error;
  });
  return tables.filter((table) => table.startsWith(prefix)).map((table) => table.slice(prefix.length));
}
