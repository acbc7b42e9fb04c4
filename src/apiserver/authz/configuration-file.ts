/**
 * Follows the file of --authorization-config: an invalid file is an error at start; at a later change it is logged and counted, and the current
 * configuration stays in effect.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { Clock } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import { watchFiles } from '#stdx/watched-files.ts';
import {
  AuthorizationConfigurationError,
  parseAuthorizationConfiguration,
  type ConfiguredAuthorizer,
} from './configuration.ts';
import { compileMatchConditions } from './match-conditions.ts';
import { label } from '#stdx/instruments.ts';
import { SERVER_ID_LABEL } from '../nonresource/server-id.ts';
import type { AuthorizationMetrics } from './metrics.ts';

interface FollowOptions {
  readonly metrics: AuthorizationMetrics;
  readonly log: Logger;
  readonly clock: Clock;
  /** Applies a configuration, or throws and keeps the previous one. First called before followConfiguration returns. */
  use(authorizers: readonly ConfiguredAuthorizer[]): void;
}

/** Throws an AuthorizationConfigurationError for a file that cannot be used at the start. */
export function followConfiguration(
  path: string,
  { metrics, log, clock, use }: FollowOptions,
): { look(): boolean; close(): void } {
  const load = (text: string): void => {
    use(parseAuthorizationConfiguration(text, compileMatchConditions));
    metrics.configInfo.only(
      `${SERVER_ID_LABEL},${label('hash', `sha256:${createHash('sha256').update(text).digest('hex')}`)}`,
      1,
    );
  };
  const reloaded = (status: 'success' | 'failure'): void => {
    metrics.reloads.add(`${SERVER_ID_LABEL},status="${status}"`);
    metrics.reloadTime.set(`${SERVER_ID_LABEL},status="${status}"`, clock.now() / 1000);
  };
  const reload = (text: string): void => {
    try {
      load(text);
      reloaded('success');
      log.info('the authorization configuration was reloaded', { path });
    } catch (error) {
      reloaded('failure');
      log.error('the changed authorization configuration is invalid, keeping the previous one', {
        path,
        error: errorMessage(error),
      });
    }
  };
  const first = readFirst(path);
  try {
    load(first);
  } catch (error) {
    throw new AuthorizationConfigurationError(`--authorization-config ${path}: ${errorMessage(error)}`, {
      cause: error,
    });
  }
  const files = watchFiles({
    paths: [path],
    clock,
    changed: ([text = '']) => reload(text),
    unreadable: (error) => {
      reloaded('failure');
      log.error('error reading the authorization configuration, keeping the previous one', {
        path,
        error: errorMessage(error),
      });
    },
  });
  // Changed between the two readings: to the watch, that is how it always was.
  const second = readFirst(path);
  if (second !== first) reload(second);
  return files;
}

function readFirst(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new AuthorizationConfigurationError(
      `--authorization-config ${path} cannot be read: ${errorMessage(error)}`,
    );
  }
}
