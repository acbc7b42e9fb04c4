/** AlwaysPullImages: every container pulls its image, so that no pod runs another's private image from the node's cache. */
import type { Container, Pod } from '#api/types.ts';
import { aggregate, forbid, isTarget } from '../forbid.ts';
import type { AdmissionAttributes, AdmissionPlugin } from '../plugin.ts';

interface Pulled {
  readonly path: string;
  readonly policy: string | undefined;
  always(): void;
}

export const alwaysPullImages: AdmissionPlugin = {
  name: 'AlwaysPullImages',
  handles: (operation, target) =>
    (operation === 'CREATE' || operation === 'UPDATE') && isTarget(target, '', 'pods'),
  admit(attributes) {
    if (concerns(attributes)) for (const image of images(attributes.object as Pod)) image.always();
  },
  validate(attributes) {
    if (!concerns(attributes)) return;
    const wrong = images(attributes.object as Pod).filter(({ policy }) => policy !== 'Always');
    if (wrong.length > 0)
      throw forbid(
        attributes,
        aggregate(
          wrong.map(
            ({ path, policy }) =>
              `${path}: Unsupported value: ${JSON.stringify(policy ?? '')}: supported values: "Always"`,
          ),
        ),
      );
  },
};

/** An update without a new image leaves an existing pod unchanged. */
function concerns({ operation, object, oldObject }: AdmissionAttributes): boolean {
  if (operation === 'CREATE') return true;
  const before = new Set(containers(oldObject as Pod).map(({ container }) => container.image));
  return containers(object as Pod).some(({ container }) => !before.has(container.image));
}

function containers({ spec }: Pod): { readonly path: string; readonly container: Container }[] {
  return (['initContainers', 'containers', 'ephemeralContainers'] as const).flatMap((list) =>
    ((spec?.[list] ?? []) as Container[]).map((container, i) => ({ path: `spec.${list}[${i}]`, container })),
  );
}

function images(pod: Pod): Pulled[] {
  const volumes = (pod.spec?.volumes ?? []).flatMap(({ image }, i): Pulled[] =>
    image
      ? [
          {
            path: `spec.volumes[${i}].image.pullPolicy`,
            policy: image.pullPolicy,
            always: () => void (image.pullPolicy = 'Always'),
          },
        ]
      : [],
  );
  return [
    ...containers(pod).map(({ path, container }): Pulled => ({
      path: `${path}.imagePullPolicy`,
      policy: container.imagePullPolicy,
      always: () => void (container.imagePullPolicy = 'Always'),
    })),
    ...volumes,
  ];
}
