/** DefaultIngressClass: an ingress that names no class gets the default one, if there is one. */
import type { Ingress } from '#api/types.ts';
import { newestDefault } from '#component-helpers/default-class.ts';
import { isTarget } from '../forbid.ts';
import type { AdmissionPlugin } from '../plugin.ts';

export const defaultIngressClass: AdmissionPlugin = {
  name: 'DefaultIngressClass',
  handles: (operation, target) =>
    operation === 'CREATE' && isTarget(target, 'networking.k8s.io', 'ingresses'),
  admit({ object, internal }) {
    const ingress = object as Ingress;
    if (
      ingress.spec?.ingressClassName !== undefined ||
      ingress.metadata?.annotations?.['kubernetes.io/ingress.class'] !== undefined
    )
      return;
    const classes = internal.list({ group: 'networking.k8s.io', resource: 'ingressclasses' });
    const found = newestDefault(
      classes.filter(
        (item) => item.metadata?.annotations?.['ingressclass.kubernetes.io/is-default-class'] === 'true',
      ),
    );
    if (found?.metadata?.name) ingress.spec = { ...ingress.spec, ingressClassName: found.metadata.name };
  },
};
