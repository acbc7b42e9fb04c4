/** The names by which the local-path provisioner, node agents and the API server's checks of nodes meet. See docs/designs/0006-volumes.md. */
export const LOCAL_PATH_PROVISIONER = 'local-path.capstan.dev';
/** Annotation of a Node: the directory in which its agent keeps volumes. Without it the node has none. */
export const LOCAL_PATH_DIRECTORY = 'local-path.capstan.dev/directory';
/** Label of a PersistentVolume: the name of the node that has it. */
export const LOCAL_PATH_NODE = 'local-path.capstan.dev/node';
/** Annotation of a PersistentVolume: when its node made the directory. One that is missing later is not made again, empty. */
export const LOCAL_PATH_MADE = 'local-path.capstan.dev/made';
/** Finalizer of a PersistentVolume: its node has not removed the directory yet. */
export const LOCAL_PATH_FINALIZER = 'local-path.capstan.dev/directory';

export function localPathSelector(nodeName: string): string {
  return `${LOCAL_PATH_NODE}=${nodeName}`;
}
