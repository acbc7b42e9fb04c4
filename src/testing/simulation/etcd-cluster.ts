/** The members of the modelled etcd cluster over their one log. */
import { EtcdLog } from './etcd-log.ts';
import { SimEtcdMember } from './etcd-member.ts';
import { SimNode, type World } from './world.ts';

const MEMBERS = 3;

export class EtcdCluster {
  readonly log: EtcdLog;
  readonly members: readonly SimEtcdMember[];

  constructor(world: World, { version }: { readonly version?: string | undefined } = {}) {
    const log = (this.log = new EtcdLog(world));
    this.members = Array.from(
      { length: MEMBERS },
      (_, i) => new SimEtcdMember(log, { node: new SimNode(`etcd${i + 1}`, world), version }),
    );
  }
}
