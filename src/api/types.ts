/**
 * The TypeScript types of the API in the versions that 1.36 prefers: `import type { Pod, Deployment } from '#api/types.ts'`.
 * Other versions are in generated/types/<group>-<version>.ts. Where two groups share a name (Event), the core group or the older one has it here.
 */
export type * from './generated/types-preferred.ts';
export type * from './scalars.ts';
export type {
  GroupVersion,
  GroupVersionKind,
  GroupVersionResource,
  KubeList,
  KubeObject,
  UserInfo,
} from '#machinery/object.ts';
