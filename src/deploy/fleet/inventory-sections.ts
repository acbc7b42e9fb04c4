/** Sections of an inventory as they are written, before defaults of groups and of the whole file. */
import type { Taint } from '#api/types.ts';

export interface SshSection {
  readonly user?: string;
  readonly port?: number;
  readonly identityFile?: string;
  readonly hostKeys?: readonly string[];
}

export interface NodeSection {
  readonly zone?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly taints?: readonly Taint[];
  readonly ssh?: SshSection;
}

export interface MachineSection extends NodeSection {
  readonly name?: string;
  readonly address?: string;
  readonly advertiseAddress?: string;
  readonly role?: string;
  readonly group?: string;
}
