/** Ingress. */
import type { HTTPIngressPath, Ingress, IngressBackend, IngressSpec } from '#api/types.ts';
import { isIP } from 'node:net';
import { isGivenEmpty } from '#machinery/given-empty.ts';
import {
  validateDNS1123Label,
  validateDNS1123Subdomain,
  validatePathSegmentName,
  validateWildcardDNS1123Subdomain,
} from '#machinery/names.ts';
import { checkDnsSubdomain, checkIP, checkPortName, checkPortNumber } from '../checks.ts';
import { defineResource } from '../define.ts';
import { Errors, Path, SPEC, STATUS } from '../field-path.ts';
import { bumpGeneration, keepAllButStatus, keepField, startGeneration } from '../strategy.ts';
import { formatAge, columns, nameOf } from '../tables.ts';

const CLASS_ANNOTATION = 'kubernetes.io/ingress.class';
const PATH_TYPES = ['Exact', 'ImplementationSpecific', 'Prefix'];
const BAD_SEQUENCES = ['//', '/./', '/../', '%2f', '%2F'];
const BAD_SUFFIXES = ['/..', '/.'];
const SHOWN_HOSTS_MAX = 3;
/** As upstream, the path is without the enclosing metadata. */
const ANNOTATIONS = Path.root('annotations');

export const ingresses = defineResource<Ingress>({
  group: 'networking.k8s.io',
  plural: 'ingresses',
  applyDefaults: (ingress) => {
    const spec = (ingress.spec ??= {});
    nullGroup(spec.defaultBackend);
    for (const { http } of spec.rules ?? []) for (const { backend } of http?.paths ?? []) nullGroup(backend);
  },
  prepareForCreate: (ingress) => {
    ingress.status = { loadBalancer: {} };
    startGeneration(ingress);
  },
  prepareForUpdate: (next, previous) => {
    keepField(next, previous, 'status');
    bumpGeneration(next, previous);
  },
  validate: (ingress) => {
    const errors = new Errors();
    const annotation = ingress.metadata?.annotations?.[CLASS_ANNOTATION],
      name = ingress.spec?.ingressClassName;
    if (annotation !== undefined && name !== undefined && annotation !== name)
      errors.invalid(
        ANNOTATIONS.child(CLASS_ANNOTATION),
        annotation,
        'must match `ingressClassName` when both are specified',
      );
    checkSpec(ingress.spec ?? {}, errors);
    return errors.list;
  },
  validateUpdate: (next) => {
    const errors = new Errors();
    checkSpec(next.spec ?? {}, errors);
    return errors.list;
  },
  status: {
    prepareForUpdate: keepAllButStatus,
    validateUpdate: (next, previous) => {
      const kept = previous.status?.loadBalancer?.ingress?.map(({ ip }) => ip);
      const errors = new Errors(),
        path = STATUS.child('loadBalancer').child('ingress');
      next.status?.loadBalancer?.ingress?.forEach(({ ip, hostname }, i) => {
        if (ip) checkIP(ip, path.index(i).child('ip'), errors, kept);
        if (!hostname) return;
        checkDnsSubdomain(hostname, path.index(i), 'hostname', errors);
        if (isIP(hostname) !== 0)
          errors.invalid(path.index(i).child('hostname'), hostname, 'must be a DNS name, not an IP address');
      });
      return errors.list;
    },
  },
  warnings: (ingress, previous) =>
    previous || ingress.metadata?.annotations?.[CLASS_ANNOTATION] === undefined
      ? []
      : [
          `annotation ${JSON.stringify(CLASS_ANNOTATION)} is deprecated, please use 'spec.ingressClassName' instead`,
        ],
  table: {
    columns: columns('Name', 'Class', 'Hosts', 'Address', 'Ports', 'Age'),
    row: (ingress, context) => {
      const { spec = {}, status } = ingress;
      const addresses = (status?.loadBalancer?.ingress ?? []).map(({ ip, hostname }) => ip || hostname || '');
      return [
        nameOf(ingress),
        spec.ingressClassName ?? ingress.metadata?.annotations?.[CLASS_ANNOTATION] ?? '<none>',
        formatHosts(spec),
        addresses.join(','),
        spec.tls?.length ? '80, 443' : '80',
        formatAge(ingress, context),
      ];
    },
  },
});

/** Written as null in a reference without it. */
function nullGroup(backend: IngressBackend | undefined): void {
  const resource = backend?.resource as { apiGroup?: string | null } | undefined;
  if (resource) resource.apiGroup ??= null;
}

function formatHosts({ rules = [] }: IngressSpec): string {
  const hosts = rules.map(({ host }) => host || '').filter((host) => host !== '');
  if (hosts.length === 0) return '*';
  return hosts.length > SHOWN_HOSTS_MAX
    ? `${hosts.slice(0, SHOWN_HOSTS_MAX).join(',')} + ${hosts.length - SHOWN_HOSTS_MAX} more...`
    : hosts.join(',');
}

function checkSpec(spec: IngressSpec, errors: Errors): void {
  if (!spec.rules?.length && !spec.defaultBackend)
    errors.invalid(
      SPEC,
      spec.rules ?? (isGivenEmpty(spec, 'rules') ? [] : null),
      'either `defaultBackend` or `rules` must be specified',
    );
  if (spec.defaultBackend) checkBackend(spec.defaultBackend, SPEC.child('defaultBackend'), errors);
  spec.rules?.forEach((rule, i) => {
    const at = SPEC.child('rules').index(i);
    if (rule.host) {
      if (isIP(rule.host) !== 0)
        errors.invalid(at.child('host'), rule.host, 'must be a DNS name, not an IP address');
      checkHost(rule.host, at.child('host'), errors);
    }
    if (!rule.http) return;
    const paths = rule.http.paths ?? [];
    if (paths.length === 0) errors.required(at.child('http').child('paths'));
    paths.forEach((path, j) => checkPath(path, at.child('http').child('paths').index(j), errors));
  });
  spec.tls?.forEach((tls, i) => {
    const at = SPEC.child('tls').index(i);
    tls.hosts?.forEach((host, j) => checkHost(host, at.child('hosts').index(j), errors));
    if (tls.secretName)
      errors.invalidEach(at.child('secretName'), tls.secretName, validateDNS1123Subdomain(tls.secretName));
  });
  if (spec.ingressClassName !== undefined)
    checkDnsSubdomain(spec.ingressClassName, SPEC, 'ingressClassName', errors);
}

function checkHost(host: string, path: Path, errors: Errors): void {
  errors.invalidEach(
    path,
    host,
    host.includes('*') ? validateWildcardDNS1123Subdomain(host) : validateDNS1123Subdomain(host),
  );
}

function checkPath(path: HTTPIngressPath, at: Path, errors: Errors): void {
  const { pathType, path: text = '' } = path;
  if (pathType === undefined) {
    errors.required(at.child('pathType'), 'pathType must be specified');
    return;
  }
  if (!PATH_TYPES.includes(pathType)) errors.notSupported(at.child('pathType'), pathType, PATH_TYPES);
  else if (pathType === 'ImplementationSpecific') {
    if (text !== '' && !text.startsWith('/'))
      errors.invalid(at.child('path'), text, 'must be an absolute path');
  } else {
    if (!text.startsWith('/')) errors.invalid(at.child('path'), text, 'must be an absolute path');
    for (const bad of BAD_SEQUENCES)
      if (text.includes(bad)) errors.invalid(at.child('path'), text, `must not contain '${bad}'`);
    for (const bad of BAD_SUFFIXES)
      if (text.endsWith(bad)) errors.invalid(at.child('path'), text, `cannot end with '${bad}'`);
  }
  checkBackend(path.backend ?? {}, at.child('backend'), errors);
}

function checkBackend(backend: IngressBackend, path: Path, errors: Errors): void {
  const { service, resource } = backend;
  if (service && resource) {
    errors.invalid(path, '', 'cannot set both resource and service backends');
    return;
  }
  if (resource) {
    const group = resource.apiGroup as string | null | undefined;
    if (group !== undefined && group !== null)
      checkDnsSubdomain(group, path.child('resource'), 'apiGroup', errors);
    for (const field of ['kind', 'name'] as const) {
      if (resource[field])
        errors.invalidEach(
          path.child('resource').child(field),
          resource[field],
          validatePathSegmentName(resource[field]),
        );
      else errors.required(path.child('resource').child(field));
    }
    return;
  }
  if (!service) {
    errors.invalid(path, '', 'resource or service backend is required');
    return;
  }
  const at = path.child('service');
  if (!service.name) errors.required(at.child('name'));
  else errors.invalidEach(at.child('name'), service.name, validateDNS1123Label(service.name));
  const { name, number } = service.port ?? {};
  if (name && number) errors.invalid(path, '', 'cannot set both port name & port number');
  else if (name) checkPortName(name, at.child('port'), 'name', errors);
  else if (number) checkPortNumber(number, at.child('port'), 'number', errors);
  else errors.required(path, 'port name or number is required');
}
