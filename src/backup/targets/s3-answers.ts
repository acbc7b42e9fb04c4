/** What S3 servers answer: the few elements of their XML that are needed, and which errors are worth another try. */
import type { BackupErrorCode } from '../errors.ts';

export interface S3Failure {
  readonly code: BackupErrorCode;
  readonly message: string;
}

/** Codes of AWS, MinIO, Ceph and others for a bucket or a disk that is full. */
const FULL = new Set([
  'QuotaExceeded',
  'StorageQuotaExceeded',
  'InsufficientCapacity',
  'StorageFull',
  'XMinioStorageFull',
  'XMinioAdminBucketQuotaExceeded',
  'ServiceQuotaExceededException',
]);
/** 4xx that pass. */
const PASSING = new Set(['RequestTimeout', 'SlowDown', 'OperationAborted', 'RequestTimeTooSkewed']);

export function failureOf(status: number, text: string): S3Failure {
  const code = element(text, 'Code');
  const message = `the server answered ${status}${code && ` ${code}`}${words(element(text, 'Message'))}`;
  if (FULL.has(code) || status === 507) return { code: 'no-space', message };
  if (status === 412) return { code: 'exists', message };
  if (status === 404 && code !== 'NoSuchBucket') return { code: 'missing', message };
  // A server that lacks an operation will not have it later.
  if (status === 501) return { code: 'refused', message };
  if (status >= 500 || status === 429 || status === 408 || PASSING.has(code))
    return { code: 'unavailable', message };
  return { code: 'refused', message };
}

function words(message: string): string {
  return message === '' ? '' : ` (${message.replace(/\.$/, '')})`;
}

/** The content of each element of this name; elements of a name are not nested in S3's answers. */
export function elements(xml: string, name: string): string[] {
  const found: string[] = [];
  const [open, close] = [`<${name}>`, `</${name}>`];
  for (let at = xml.indexOf(open); at >= 0;) {
    const end = xml.indexOf(close, at);
    if (end < 0) break;
    found.push(xml.slice(at + open.length, end));
    at = xml.indexOf(open, end);
  }
  return found;
}

/** '' where there is none. */
export function element(xml: string, name: string): string {
  return (elements(xml, name)[0] ?? '')
    .replaceAll('&lt;', '<')
    .replaceAll('&gt;', '>')
    .replaceAll('&quot;', '"')
    .replaceAll('&#39;', "'")
    .replaceAll('&amp;', '&');
}
