/** Removes a cluster's service rules from the machine; fine when there are none. */
import { tableName } from './nft.ts';
import { NftError, runNft } from './run-nft.ts';

export async function destroyServiceProxy(clusterId: string): Promise<void> {
  const table = tableName(clusterId);
  try {
    await runNft(`add table ip ${table}\ndelete table ip ${table}\n`);
  } catch (error) {
    if (!(error instanceof NftError && error.missing)) throw error;
  }
}
