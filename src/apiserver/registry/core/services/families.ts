/** Which address families a Service has: fills in the policy and the families, and refuses those that the cluster has not. */
import type { Service, ServiceSpec } from '#api/types.ts';
import { fieldErrors, statusErrors, type FieldError } from '#machinery/errors.ts';
import { Errors } from '#resources/field-path.ts';
import { checkClusterIPs, isHeadless } from '#resources/core/services.ts';
import { ipFamily, type IPFamily } from '#machinery/ip.ts';

const NONE = 'None';

export function nameOf({ metadata }: Service): string {
  return metadata?.name ?? '';
}

export function invalid(service: Service, errors: readonly FieldError[]): Error {
  return statusErrors.invalid({ group: '', kind: 'Service', name: nameOf(service) }, errors);
}

const SINGLE = 'SingleStack',
  PREFER = 'PreferDualStack',
  REQUIRE = 'RequireDualStack';

function sameList(left: readonly string[] = [], right: readonly string[] = []): boolean {
  return left.length === right.length && left.every((value, i) => value === right[i]);
}

/** Families of a dual-stack Service are left unchanged on a dual-stack cluster. */
export function prefersTheSame(spec: ServiceSpec, stored: ServiceSpec): boolean {
  return (
    spec.ipFamilyPolicy === PREFER &&
    (stored.ipFamilyPolicy ?? PREFER) === PREFER &&
    spec.type === stored.type &&
    sameList(spec.clusterIPs, stored.clusterIPs) &&
    sameList(spec.ipFamilies, stored.ipFamilies)
  );
}

/**
 * Defaults the policy and the families, and refuses families that the cluster lacks. A headless Service without a selector may have families that
 * the cluster lacks: it has no address.
 */
export function chooseFamilies(
  service: Service,
  { stored, families }: { readonly stored: ServiceSpec | undefined; readonly families: readonly IPFamily[] },
): void {
  const spec = service.spec!,
    byHand = spec.clusterIP === NONE && Object.keys(spec.selector ?? {}).length === 0;
  spec.ipFamilyPolicy ??= stored?.ipFamilyPolicy ?? (byHand ? REQUIRE : SINGLE);
  const related = new Errors();
  checkClusterIPs(spec, { headless: isHeadless(spec), stored }, related);
  if (related.any) throw invalid(service, related.list);
  const errors = [
    ...(stored ? fitToStored(spec, stored) : []),
    ...tooMany(spec),
    ...familiesOfAddresses(spec, families),
  ];
  if (errors.length > 0) throw invalid(service, errors);
  if (!byHand) {
    const absent = absentFamilies(spec, families);
    if (absent.length > 0) throw invalid(service, absent);
  }
  if (!spec.ipFamilies?.length) spec.ipFamilies = [families[0]!];
  const wantsBoth = spec.ipFamilyPolicy !== SINGLE && (byHand || families.length === 2);
  if (wantsBoth && spec.ipFamilies.length < 2)
    spec.ipFamilies = [...spec.ipFamilies, spec.ipFamilies[0] === 'IPv4' ? 'IPv6' : 'IPv4'];
}

/** A Service changed to single-stack loses its second family, unless the client named the one to keep. */
function fitToStored(spec: ServiceSpec, stored: ServiceSpec): FieldError[] {
  if (spec.ipFamilyPolicy === SINGLE) {
    if (sameList(spec.clusterIPs, stored.clusterIPs)) keepFirst(spec, 'clusterIPs');
    if (sameList(spec.ipFamilies, stored.ipFamilies)) keepFirst(spec, 'ipFamilies');
    return [];
  }
  const reduced = (field: 'clusterIPs' | 'ipFamilies'): boolean =>
    (spec[field]?.length ?? 0) > 0 && spec[field]!.length < (stored[field]?.length ?? 0);
  const refuse = (what: string): FieldError =>
    fieldErrors.invalid(
      'spec.ipFamilyPolicy',
      spec.ipFamilyPolicy,
      `must be 'SingleStack' to release the secondary ${what}`,
    );
  return [
    ...(reduced('clusterIPs') ? [refuse('cluster IP')] : []),
    ...(reduced('ipFamilies') ? [refuse('IP family')] : []),
  ];
}

function keepFirst(spec: ServiceSpec, field: 'clusterIPs' | 'ipFamilies'): void {
  if ((spec[field]?.length ?? 0) > 1) spec[field] = spec[field]!.slice(0, 1);
}

function tooMany({ ipFamilyPolicy, clusterIPs, ipFamilies }: ServiceSpec): FieldError[] {
  if (ipFamilyPolicy !== SINGLE) return [];
  const refuse = (what: string): FieldError =>
    fieldErrors.invalid(
      'spec.ipFamilyPolicy',
      ipFamilyPolicy,
      `must be 'RequireDualStack' or 'PreferDualStack' when multiple ${what} are specified`,
    );
  return [
    ...(clusterIPs?.length === 2 ? [refuse('cluster IPs')] : []),
    ...(ipFamilies?.length === 2 ? [refuse('IP families')] : []),
  ];
}

/** Addresses that are given say which families are meant. */
function familiesOfAddresses(spec: ServiceSpec, families: readonly IPFamily[]): FieldError[] {
  const errors: FieldError[] = [];
  if (spec.clusterIPs?.[0] === NONE) return errors;
  spec.clusterIPs?.forEach((ip, i) => {
    if (i < (spec.ipFamilies?.length ?? 0)) return;
    const family = ipFamily(ip);
    if (!families.includes(family))
      errors.push(
        fieldErrors.invalid(
          `spec.clusterIPs[${i}]`,
          spec.clusterIPs,
          `${family} is not configured on this cluster`,
        ),
      );
    else spec.ipFamilies = [...(spec.ipFamilies ?? []), family];
  });
  return errors;
}

function absentFamilies(
  { ipFamilyPolicy, ipFamilies = [] }: ServiceSpec,
  families: readonly IPFamily[],
): FieldError[] {
  return [
    ...(ipFamilyPolicy === REQUIRE && families.length < 2
      ? [
          fieldErrors.invalid(
            'spec.ipFamilyPolicy',
            ipFamilyPolicy,
            'this cluster is not configured for dual-stack services',
          ),
        ]
      : []),
    ...ipFamilies.flatMap((family, i) =>
      families.includes(family as IPFamily)
        ? []
        : [fieldErrors.invalid(`spec.ipFamilies[${i}]`, family, 'not configured on this cluster')],
    ),
  ];
}
