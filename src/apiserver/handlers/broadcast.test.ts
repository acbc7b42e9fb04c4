import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeClock } from '#stdx/testing/fake-clock.ts';
import { ParsedObjects } from '../watchcache/parsed-objects.ts';
import { ResourceCache, type CacheListener } from '../watchcache/resource-cache.ts';
import { Broadcast, type BroadcastMember } from './broadcast.ts';

class World {
  readonly clock = new FakeClock();
  readonly cache = new ResourceCache({
    prefix: '/registry/things/',
    parsed: new ParsedObjects(1000),
    fieldsOf: () => ({}),
  });
  #revision = 0;
  /** Frames made, whatever the number of watchers. */
  made = 0;

  /** Writes one object after the other, in one batch. */
  put(...names: string[]): void {
    const touched = new Set<CacheListener>();
    for (const name of names) {
      const revision = ++this.#revision,
        key = `/registry/things/${name}`,
        value = Buffer.from(JSON.stringify({ kind: 'Thing', apiVersion: 'v1', metadata: { name } }));
      this.cache.apply(
        {
          type: 'put',
          key,
          revision,
          value: { key, value, modRevision: revision, createRevision: revision } as never,
        },
        { object: undefined, touched },
      );
    }
    for (const listener of touched) listener.flush?.();
  }

  join(): { readonly member: Member; readonly broadcast: Broadcast } {
    const member = new Member();
    const form = {
      encoding: 'names',
      frame: (_: string, entry: { readonly key: string }): Buffer => (
        this.made++,
        Buffer.from(`${entry.key.split('/').at(-1)} `)
      ),
    };
    return {
      member,
      broadcast: Broadcast.join(member, {
        cache: this.cache,
        keyPrefix: this.cache.prefix,
        form,
        clock: this.clock,
      }),
    };
  }
}

class Member implements BroadcastMember {
  readonly writes: string[] = [];
  ended = false;
  write(frames: Buffer): void {
    this.writes.push(frames.toString());
  }
  end(): void {
    this.ended = true;
  }
  get seen(): string {
    return this.writes.join('');
  }
}

test('few watchers get every batch at once, from the moment they join', () => {
  const world = new World();
  world.put('before');
  const first = world.join();
  world.put('a', 'b');
  const second = world.join();
  assert.equal(first.broadcast, second.broadcast);
  world.put('c');
  assert.deepEqual([first.member.writes, second.member.writes], [['a b ', 'c '], ['c ']]);
  assert.equal(world.made, 3);
  first.broadcast.leave(first.member);
  world.put('d');
  assert.deepEqual([first.member.seen, second.member.seen], ['a b c ', 'c d ']);
});

test('many watchers get what happens in short succession together, and nobody anything twice', async () => {
  const world = new World();
  const members = Array.from({ length: 1000 }, () => world.join().member);
  world.put('a');
  world.put('b');
  world.put('c');
  assert.deepEqual(members[7]!.writes, ['a ']);
  // Who joins has seen what waits: the others get it now.
  const { member: late, broadcast } = world.join();
  assert.deepEqual(members[7]!.writes, ['a ', 'b c ']);
  world.put('d');
  assert.deepEqual([members[7]!.seen, late.seen], ['a b c ', '']);
  await world.clock.advance(60);
  assert.deepEqual([members[7]!.seen, late.seen], ['a b c d ', 'd ']);
  world.put('e');
  world.put('f');
  // A bookmark for one of them comes after all it tells of.
  broadcast.writeWaiting();
  assert.equal(late.seen, 'd e f ');
});

test('who has watched a cache that is filled anew is ended, after what there was', () => {
  const world = new World();
  const { member } = world.join();
  world.put('a');
  world.cache.fill([], 10);
  assert.deepEqual([member.seen, member.ended], ['a ', true]);
});
