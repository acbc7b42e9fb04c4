/**
 * Image names as containerd's CRI normalises them (the rules of distribution/reference): 'busybox' is
 * 'docker.io/library/busybox:latest'. Follows https://pkg.go.dev/github.com/distribution/reference.
 */

interface ImageReference {
  /** Host, with a port where one is given: 'docker.io', 'localhost:5000'. */
  readonly domain: string;
  /** 'library/busybox' */
  readonly repository: string;
  readonly tag?: string | undefined;
  /** 'sha256:…' */
  readonly digest?: string | undefined;
}

const DEFAULT_DOMAIN = 'docker.io';
const LEGACY_DOMAIN = 'index.docker.io';
const DOMAIN =
  /^(?:(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])(?:\.(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?$/;
const REPOSITORY = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$/;
const TAG = /^\w[\w.-]{0,127}$/;
const DIGEST = /^[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[0-9a-fA-F]{32,}$/;
const MAX_NAME_LENGTH = 255;

/** undefined for an invalid image name (upstream then reports InvalidImageName). */
export function parseReference(text: string): ImageReference | undefined {
  const [beforeDigest = '', digest, ...more] = text.split('@');
  if (more.length > 0 || (digest !== undefined && !DIGEST.test(digest))) return undefined;
  const colon = beforeDigest.lastIndexOf(':');
  const hasTag = colon > beforeDigest.lastIndexOf('/');
  const tag = hasTag ? beforeDigest.slice(colon + 1) : undefined;
  if (tag !== undefined && !TAG.test(tag)) return undefined;
  const { domain, repository } = splitDomain(hasTag ? beforeDigest.slice(0, colon) : beforeDigest);
  if (
    !DOMAIN.test(domain) ||
    !REPOSITORY.test(repository) ||
    domain.length + 1 + repository.length > MAX_NAME_LENGTH
  )
    return undefined;
  return {
    domain,
    repository,
    tag,
    digest,
  };
}

/** The full name, with ':latest' where neither tag nor digest is given; undefined for an invalid name. */
export function normalizeReference(text: string): string | undefined {
  const reference = parseReference(text);
  return reference && formatReference(reference);
}

export function formatReference({ domain, repository, tag, digest }: ImageReference): string {
  const tagPart = tag ?? (digest === undefined ? 'latest' : undefined);
  return `${domain}/${repository}${tagPart === undefined ? '' : `:${tagPart}`}${digest === undefined ? '' : `@${digest}`}`;
}

function splitDomain(name: string): { readonly domain: string; readonly repository: string } {
  const slash = name.indexOf('/');
  const first = slash < 0 ? '' : name.slice(0, slash);
  const isDomain = first === 'localhost' || /[.:]/.test(first) || first.toLowerCase() !== first;
  const domain = isDomain ? (first === LEGACY_DOMAIN ? DEFAULT_DOMAIN : first) : DEFAULT_DOMAIN;
  const rest = isDomain ? name.slice(slash + 1) : name;
  return { domain, repository: domain === DEFAULT_DOMAIN && !rest.includes('/') ? `library/${rest}` : rest };
}
