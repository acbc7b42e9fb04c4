/** The CSI drivers that have registered with this node: those that can be called, and their records in the API. */
import type { Plugin, PluginHandler, RegisteredPlugin } from '../plugins/plugin-registry.ts';
import { createCsiNodeClient, type CsiNodeClient } from './client.ts';
import type { CsiNodeRecord } from './csi-node-record.ts';
import type { NodeCapability } from './protocol.ts';

export interface CsiDriver {
  readonly name: string;
  readonly client: CsiNodeClient;
  readonly capabilities: ReadonlySet<NodeCapability>;
}

export class CsiDrivers implements PluginHandler {
  readonly #record: CsiNodeRecord;
  readonly #drivers = new Map<string, CsiDriver>();

  constructor(record: CsiNodeRecord) {
    this.#record = record;
  }

  get(name: string): CsiDriver | undefined {
    return this.#drivers.get(name);
  }

  async register(plugin: Plugin): Promise<RegisteredPlugin> {
    this.#check(plugin);
    const { name } = plugin;
    const client = createCsiNodeClient(plugin.endpoint);
    try {
      const node = await client.getInfo();
      if (node.nodeId === '') throw new Error(`driver ${name} answers NodeGetInfo without a node_id`);
      const capabilities = await client.getCapabilities();
      await this.#record.add(name, node);
      this.#drivers.set(name, { name, client, capabilities });
    } catch (error) {
      client.close();
      throw error;
    }
    const close = (): void => {
      this.#drivers.delete(name);
      client.close();
    };
    return {
      close,
      leave: async () => {
        await this.#record.remove(name);
        close();
      },
    };
  }

  #check({ name, supportedVersions }: Plugin): void {
    if (name === '' || name.length > 63)
      throw new Error(`driver name ${JSON.stringify(name)} must have 1 to 63 characters`);
    if (this.get(name)) throw new Error(`a driver named ${name} is registered already, by another socket`);
    if (!supportedVersions.some((version) => /^v?1\./.test(version)))
      throw new Error(
        `none of the versions ${supportedVersions.join(', ')} of driver ${name} is supported: must be 1.x`,
      );
  }
}
