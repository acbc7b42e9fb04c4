/** Controller references: the one owner that manages an object. Pure. After apimachinery's meta/v1 controller_ref. */
import { formatApiVersion, type KubeObject, type OwnerReference } from '#machinery/object.ts';

/** The reference to the owner that manages the object. */
export function findController(object: KubeObject): OwnerReference | undefined {
  return object.metadata?.ownerReferences?.find(({ controller }) => controller === true);
}

export function isControlledBy(object: KubeObject, owner: KubeObject): boolean {
  return findController(object)?.uid === owner.metadata?.uid;
}

export function controllerReference(
  owner: KubeObject,
  kind: { readonly group: string; readonly version: string; readonly kind: string },
): OwnerReference {
  return {
    apiVersion: formatApiVersion(kind),
    kind: kind.kind,
    name: owner.metadata!.name!,
    uid: owner.metadata!.uid!,
    controller: true,
    blockOwnerDeletion: true,
  };
}
