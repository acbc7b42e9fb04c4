/** The Node as events refer to it, also before it exists: as upstream by its name. */
import type { Node } from '#api/types.ts';

export function nodeReference(nodeName: string): Node {
  return { apiVersion: 'v1', kind: 'Node', metadata: { name: nodeName, uid: nodeName } };
}
