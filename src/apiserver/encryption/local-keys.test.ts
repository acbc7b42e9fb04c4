/** The formats are upstream's: what another implementation made (OpenSSL, NaCl's published vector) is read, and what is made here is read by it. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createDecipheriv, randomBytes } from 'node:crypto';
import { describe, it } from 'node:test';
import { aesCbc, aesGcm, identity, secretbox } from './local-keys.ts';
import { TransformError, type Plain, type Transformer } from './transformer.ts';

const KEY = Buffer.alloc(32, 7);
const CONTEXT = '/registry/secrets/default/a';
const VALUE = Buffer.from('{"kind":"Secret"}');

const read = (transformer: Transformer, stored: Buffer, context = CONTEXT): string =>
  (transformer.fromStorage(stored, context) as Plain).value.toString();
const refuses = (transformer: Transformer, stored: Buffer, context = CONTEXT): void =>
  assert.throws(() => transformer.fromStorage(stored, context), TransformError);

describe('providers with local keys', () => {
  for (const make of [aesGcm, aesCbc, secretbox]) {
    it(`${make.name}: reads back, refuses other keys and what is cut off, and never writes the same twice`, () => {
      const transformer = make({ name: 'k', secret: KEY });
      for (const value of [VALUE, Buffer.alloc(0), randomBytes(100_000)]) {
        const stored = transformer.toStorage(value, CONTEXT);
        assert.deepEqual((transformer.fromStorage(stored, CONTEXT) as Plain).value, value);
        assert.notDeepEqual(transformer.toStorage(value, CONTEXT), stored);
      }
      const stored = transformer.toStorage(VALUE, CONTEXT);
      refuses(transformer, stored.subarray(0, 10));
      refuses(transformer, stored.subarray(0, stored.length - 1));
      // CBC has no authentication: the wrong key may give rubbish instead, as upstream.
      if (make !== aesCbc) {
        refuses(make({ name: 'k', secret: Buffer.alloc(32, 8) }), stored);
        for (let index = 0; index < stored.length; index++) {
          const changed = Buffer.from(stored);
          changed[index]! ^= 1;
          refuses(transformer, changed);
        }
      }
    });
  }

  it('aesgcm binds the value to its key in the store', () => {
    const transformer = aesGcm({ name: 'k', secret: KEY });
    refuses(transformer, transformer.toStorage(VALUE, CONTEXT), '/registry/secrets/default/b');
  });

  it('aesgcm is nonce, ciphertext, tag', () => {
    const stored = aesGcm({ name: 'k', secret: KEY }).toStorage(VALUE, CONTEXT);
    const decipher = createDecipheriv('aes-256-gcm', KEY, stored.subarray(0, 12));
    decipher.setAAD(Buffer.from(CONTEXT));
    decipher.setAuthTag(stored.subarray(-16));
    assert.equal(
      decipher.update(stored.subarray(12, -16)).toString() + decipher.final().toString(),
      VALUE.toString(),
    );
  });

  it('aescbc is what OpenSSL makes, behind its IV', () => {
    const iv = randomBytes(16);
    const words = ['-aes-256-cbc', '-K', KEY.toString('hex'), '-iv', iv.toString('hex')];
    const made = execFileSync('openssl', ['enc', ...words], { input: VALUE });
    assert.equal(read(aesCbc({ name: 'k', secret: KEY }), Buffer.concat([iv, made])), VALUE.toString());
  });

  it("secretbox is NaCl's (the vector of its paper)", () => {
    const secret = Buffer.from('1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389', 'hex');
    const nonce = Buffer.from('69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37', 'hex');
    const box = Buffer.from(
      'f3ffc7703f9400e52a7dfb4b3d3305d98e993b9f48681273c29650ba32fc76ce48332ea7164d96a4476fb8c531a1186ac0dfc17c98dce87b4da7f011ec48c97271d2c20f9b928fe2270d6fb863d51738b48eeee314a7cc8ab932164548e526ae90224368517acfeabd6bb3732bc0e9da99832b61ca01b6de56244a9e88d5f9b37973f622a43d14a6599b1f654cb45a74e355a5',
      'hex',
    );
    const { value } = secretbox({ name: 'k', secret }).fromStorage(
      Buffer.concat([nonce, box]),
      CONTEXT,
    ) as Plain;
    assert.deepEqual(
      [value.length, value.toString('hex', 0, 16)],
      [box.length - 16, 'be075fc53c81f2d5cf141316ebeb0c7b'],
    );
  });

  it('identity refuses what is encrypted', () => {
    assert.equal(read(identity, VALUE), VALUE.toString());
    assert.throws(() => identity.fromStorage(Buffer.from('k8s:enc:aesgcm:v1:a:xyz'), CONTEXT), {
      message: 'identity transformer tried to read encrypted data',
    });
  });

  it("prefixes are upstream's", () => {
    assert.deepEqual(
      [aesGcm, aesCbc, secretbox].map((make) => make({ name: 'key1', secret: KEY }).prefix),
      ['k8s:enc:aesgcm:v1:key1:', 'k8s:enc:aescbc:v1:key1:', 'k8s:enc:secretbox:v1:key1:'],
    );
  });
});
