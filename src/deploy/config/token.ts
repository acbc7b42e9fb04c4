/** Bootstrap tokens: 'abcdef.0123456789abcdef', an id that may be seen and a secret. */
import { randomInt } from 'node:crypto';

const ALPHABET = 'abcdefghijklmnopqrstuvwxyz0123456789';
const ID_LENGTH = 6;
const SECRET_LENGTH = 16;

interface TokenParts {
  readonly id: string;
  readonly secret: string;
}

export function isBootstrapToken(text: string): boolean {
  return tokenParts(text) !== undefined;
}

/** Undefined: it is no token. */
export function tokenParts(text: string): TokenParts | undefined {
  const [, id, secret] = /^([a-z0-9]{6})\.([a-z0-9]{16})$/.exec(text) ?? [];
  return id === undefined || secret === undefined ? undefined : { id, secret };
}

export function generateToken(): string {
  return `${randomText(ID_LENGTH)}.${randomText(SECRET_LENGTH)}`;
}

function randomText(length: number): string {
  return Array.from({ length }, () => ALPHABET[randomInt(ALPHABET.length)]).join('');
}
