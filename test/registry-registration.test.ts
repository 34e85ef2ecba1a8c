import t from 'tap'
import type { DomainState } from '../src/registry/catalog.js'
import { planRegistration, type RegistrationInput } from '../src/registry/registration.js'
import type { VersionRecord } from '../src/store/store.js'

const BEFORE = '2026-01-01T00:00:00.000Z'
const NOW = '2026-02-02T00:00:00.000Z'

function listed(version: string, seed = false): VersionRecord {
  return { version, bytes: 10, created: BEFORE, design: 'bn', classes: 3, ...(seed ? { seed } : {}) }
}

function state(active: string | null, versions: string[], changes: Partial<DomainState> = {}): DomainState {
  const records = versions.map((name) => listed(name.replace('*', ''), name.endsWith('*')))
  return { domain: 'pets', active, versions: records, pinned: false, updated: BEFORE, ...changes }
}

/** A registration of version `c`, which the domain does not have yet, over `a`. */
function plan(input: Partial<RegistrationInput> = {}) {
  return planRegistration({
    domain: 'pets',
    before: state('a', ['a']),
    pack: { ...listed('c'), created: NOW },
    activate: true,
    seeds: [],
    damaged: false,
    keepVersions: 3,
    ...input,
  })
}

/** `active: versions`, a star behind shipped ones, a bang behind those that are listed anew. */
function shown({ next }: ReturnType<typeof plan>): string | null {
  if (next === null) return null
  const names = next.versions.map(
    ({ version, seed, created }) => version + (seed ? '*' : '') + (created === NOW ? '!' : ''),
  )
  return `${next.active}: ${names.join(' ')}`
}

const known = state('a', ['c', 'a'])
const shippedC = listed('c', true)
const shippedS = listed('s', true)

const table: [
  name: string,
  input: Partial<RegistrationInput>,
  wanted: { next: string | null; storeBlob: boolean; canary: boolean; dropped?: string[] },
][] = [
  ['a new domain', { before: undefined }, { next: 'c: c!', storeBlob: true, canary: true }],
  [
    'a new domain, staged only',
    { before: undefined, activate: false },
    { next: 'null: c!', storeBlob: true, canary: true },
  ],
  ['a new version', {}, { next: 'c: a c!', storeBlob: true, canary: true }],
  ['a new version, staged only', { activate: false }, { next: 'a: a c!', storeBlob: true, canary: true }],
  [
    'an older version, again: it becomes the newest and keeps its date',
    { before: known },
    { next: 'c: a c', storeBlob: true, canary: false },
  ],
  [
    'an older version, staged again: nothing changes, its bytes are put for repair',
    { before: known, activate: false },
    { next: null, storeBlob: true, canary: false },
  ],
  [
    'the active version, again: the same',
    { before: state('c', ['a', 'c']) },
    { next: null, storeBlob: true, canary: false },
  ],
  [
    'the active version, known to be damaged: written again, without a canary',
    { before: state('c', ['a', 'c']), damaged: true },
    { next: 'c: a c', storeBlob: true, canary: false },
  ],
  [
    'a version beyond the limit: the oldest goes',
    { before: state('b', ['a', 'b']), keepVersions: 2 },
    { next: 'c: b c!', storeBlob: true, canary: true, dropped: ['a'] },
  ],
  [
    'beyond the limit, staged only: the active one stays',
    { before: state('a', ['a', 'b']), keepVersions: 2, activate: false },
    { next: 'a: a c!', storeBlob: true, canary: true, dropped: ['b'] },
  ],
  [
    'the shipped pack of a deleted domain: it needs no blob',
    { before: undefined, seeds: [shippedC] },
    { next: 'c: c*', storeBlob: false, canary: true },
  ],
  [
    'the shipped pack over a registered version: no blob, no canary',
    { before: state('a', ['c*', 'a']), seeds: [shippedC] },
    { next: 'c: a c*', storeBlob: false, canary: false },
  ],
  [
    'the shipped pack, active already: nothing at all',
    { before: state('c', ['c*']), seeds: [shippedC] },
    { next: null, storeBlob: false, canary: false },
  ],
  [
    'the shipped pack whose file is damaged: stored as a registered version',
    { before: state('c', ['c*']), seeds: [shippedC], damaged: true },
    { next: 'c: c!', storeBlob: true, canary: false },
  ],
  [
    'a new version over a shipped pack, which stays listed and does not count',
    { before: state('s', ['s*']), seeds: [shippedS], keepVersions: 1 },
    { next: 'c: s* c!', storeBlob: true, canary: true },
  ],
  [
    'a shipped pack that is not listed yet comes first, as the oldest',
    { seeds: [shippedS] },
    { next: 'c: s* a c!', storeBlob: true, canary: true },
  ],
  [
    'a new version where a domain with a shipped pack was deleted: that is listed again',
    { before: undefined, seeds: [shippedS] },
    { next: 'c: s* c!', storeBlob: true, canary: true },
  ],
  [
    'a domain whose record is broken begins anew',
    { before: state(null, [], { broken: 'torn' }) },
    { next: 'c: c!', storeBlob: true, canary: true },
  ],
]

for (const [name, input, { dropped = [], ...wanted }] of table) {
  t.test(name, async (t) => {
    const planned = plan(input)
    const { storeBlob, canary } = planned
    t.same({ next: shown(planned), storeBlob, canary }, wanted)
    t.same(planned.dropped, dropped)
  })
}

t.test('a registration keeps the pin and mends a broken record', async (t) => {
  const pinned = plan({ before: state('a', ['a'], { pinned: true }) })
  t.match(pinned.next, { pinned: true, updated: null })
  t.equal(plan({ before: state(null, [], { broken: 'torn' }) }).next?.broken, undefined)
})
