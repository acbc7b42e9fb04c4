/** The target of a location: a directory, or s3://BUCKET/PREFIX, whose credentials are in a file or in AWS's environment variables. */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { DirectoryTarget } from '#backup/targets/directory.ts';
import type { BackupTarget, BeforeStep } from '#backup/targets/target.ts';
import { UserError } from '#deploy/data-dir.ts';

export interface TargetFlags {
  readonly location?: string | undefined;
  readonly s3Endpoint?: string | undefined;
  readonly s3Region?: string | undefined;
  readonly s3CredentialsFile?: string | undefined;
  /** Of directories. */
  readonly before?: BeforeStep | undefined;
}

const DEFAULT_REGION = 'us-east-1';

/** Throws a UserError. usual: without --location. */
export async function openTarget(flags: TargetFlags, usual: string): Promise<BackupTarget> {
  const location = flags.location ?? usual;
  if (location === '')
    throw new UserError('The location is empty; it should be a directory, or s3://BUCKET/PREFIX.');
  if (!/^[a-z0-9+]+:\/\//i.test(location)) return new DirectoryTarget(resolve(location), flags);
  const [, bucket = '', path = ''] = /^s3:\/\/([^/]+)\/?(.*)$/.exec(location) ?? [];
  if (bucket === '')
    throw new UserError(`The location ${location} should be a directory, or s3://BUCKET/PREFIX.`);
  const region = flags.s3Region ?? process.env['AWS_REGION'] ?? DEFAULT_REGION;
  const { S3Target } = await import('#backup/targets/s3.ts');
  return new S3Target({
    bucket,
    prefix: path === '' ? '' : `${path.replace(/\/+$/, '')}/`,
    endpoint: endpointOf(flags, region),
    region,
    ...credentialsOf(flags),
  });
}

function endpointOf({ s3Endpoint }: TargetFlags, region: string): string {
  const endpoint = s3Endpoint ?? process.env['AWS_ENDPOINT_URL_S3'] ?? process.env['AWS_ENDPOINT_URL'];
  if (endpoint === undefined) return `https://s3.${region}.amazonaws.com`;
  if (!URL.canParse(endpoint) || !/^https?:/.test(endpoint))
    throw new UserError(
      `--s3-endpoint is "${endpoint}"; it should be an address like https://s3.example.org.`,
    );
  return endpoint.replace(/\/+$/, '');
}

interface Credentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
}

/** The file is as `aws configure` writes it; of several profiles the first counts. */
function credentialsOf({ s3CredentialsFile: file }: TargetFlags): Credentials {
  const values = file === undefined ? fromEnvironment() : fromFile(file);
  const { aws_access_key_id: accessKeyId, aws_secret_access_key: secretAccessKey } = values;
  const { aws_session_token: sessionToken } = values;
  if (!accessKeyId || !secretAccessKey)
    throw new UserError(
      file === undefined
        ? 'S3 needs credentials: --s3-credentials-file FILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment.'
        : `--s3-credentials-file ${file} lacks aws_access_key_id or aws_secret_access_key.`,
    );
  return { accessKeyId, secretAccessKey, ...(sessionToken ? { sessionToken } : {}) };
}

function fromEnvironment(): Record<string, string | undefined> {
  return Object.fromEntries(
    ['aws_access_key_id', 'aws_secret_access_key', 'aws_session_token'].map((name) => [
      name,
      process.env[name.toUpperCase()],
    ]),
  );
}

function fromFile(file: string): Record<string, string | undefined> {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw new UserError(`--s3-credentials-file ${file} cannot be read: ${(error as Error).message}.`, error);
  }
  const values: Record<string, string> = {};
  for (const line of text.split('\n')) {
    const [, name = '', value = ''] = /^\s*([a-z_]+)\s*=\s*(\S+)\s*$/.exec(line) ?? [];
    if (name !== '') values[name] ??= value;
  }
  return values;
}
