/**
 * The plain way of doing it, one for each pain of docs/reliability.md: a small change of our source, and the test
 * that must fail on it.
 */
export interface Variant {
  pain: number
  /** What the plain way is. */
  way: string
  file: string
  /** Text that occurs once in the file, and what the plain way has there. */
  find: string
  replace: string
  /** A second place in the same file. */
  also?: { find: string; replace: string }
  test: string
  /** A test that fails; among others, perhaps. */
  fails: RegExp
}

const pains = 'service-pains'

export const variants: readonly Variant[] = [
  {
    pain: 1,
    way: 'requests come one after the other to the table of adapters, and wait there for loads',
    file: 'src/registry/registry.ts',
    find: '  async acquire(domain: string, version?: string, options: WaitOptions = {}): Promise<Lease> {\n',
    replace: `  #last: Promise<unknown> = Promise.resolve()
  acquire(domain: string, version?: string, options: WaitOptions = {}): Promise<Lease> {
    const next = this.#last.then(() => this.acquireNow(domain, version, options))
    this.#last = next.catch(() => {})
    return next
  }
  async acquireNow(domain: string, version?: string, options: WaitOptions = {}): Promise<Lease> {
`,
    test: pains,
    fails: /pains 1 and 2/,
  },
  {
    pain: 2,
    way: 'loads wait behind one lock',
    file: 'src/residency/residency.ts',
    find: 'new Gate({ width: concurrentLoads, clock })',
    replace: 'new Gate({ width: 1, clock })',
    test: pains,
    fails: /pains 1 and 2/,
  },
  {
    pain: 3,
    way: 'who finds no free row is refused',
    file: 'src/residency/rows.ts',
    find: 'while (!this.#fits(bytes) && this.#evict());\n      if (!this.#fits(bytes)) break\n',
    replace: `while (!this.#fits(bytes) && this.#evict());
      if (!this.#fits(bytes)) {
        this.#waiting.delete(claim)
        give(null)
        continue
      }
`,
    test: pains,
    fails: /pain 3/,
  },
  {
    pain: 4,
    way: 'who is deleted leaves the table, and its row and file stay',
    file: 'src/registry/mutations.ts',
    find: `      residency.settle(catalog.set(domain, null))
      observe?.forget?.(domain)
      this.#audit({ action: 'delete', domain, version: active, dropped: [] })
      await this.#collect()
`,
    replace: `      catalog.set(domain, null)
      observe?.forget?.(domain)
      this.#audit({ action: 'delete', domain, version: active, dropped: [] })
`,
    test: pains,
    fails: /pains 4 and 12/,
  },
  {
    pain: 5,
    way: 'an upload is answered, and takes effect soon after',
    file: 'src/registry/mutations.ts',
    find: 'await this.#write(state, warm)\n',
    replace: 'void this.#write(state, warm)\n',
    test: 'service-hot-swap',
    fails: /replaced 50 times/,
  },
  {
    pain: 6,
    way: 'a row is freed with its domain, whoever still uses it',
    file: 'src/residency/rows.ts',
    find: "if (resident?.references === 0 && this.#standing(resident) === 'none')",
    replace: "if (resident !== undefined && this.#standing(resident) === 'none')",
    test: 'registry-versions',
    fails: /./,
  },
  {
    pain: 7,
    way: 'the numbers of a pack are not looked at, and it is not tried',
    file: 'src/residency/canary.ts',
    find: '    if (problems.length > 0) {\n',
    replace: '    if (problems.length > 1e9) {\n',
    test: 'registry-engine',
    fails: /./,
  },
  {
    pain: 8,
    way: 'who has no adapter is served by the base',
    file: 'src/registry/registry.ts',
    find: '    return this.#catalog.get(domain) !== undefined\n',
    replace: '    return domain !== null\n',
    also: {
      find: 'this.#catalog.sound(domain)\n',
      replace: 'this.#catalog.sound(this.#catalog.get(domain) ? domain : BASE_DOMAIN)\n',
    },
    test: pains,
    fails: /pains 6 and 8/,
  },
  {
    pain: 9,
    way: 'names become paths as they are',
    file: 'src/store/layout.ts',
    find: '    checkDomainId(domain)\n',
    replace: '',
    test: 'store-local',
    fails: /pain 9/,
  },
  {
    pain: 10,
    way: 'the token is asked of the routes that somebody thought of',
    file: 'src/http/access/auth.ts',
    find: "if (scope !== undefined && scope !== 'open')",
    replace: "if (scope !== undefined && scope !== 'open' && !request.url.endsWith('/pack'))",
    test: pains,
    fails: /pain 10/,
  },
  {
    pain: 11,
    way: 'what is registered is in memory',
    file: 'src/store/local.ts',
    find: '        await this.#disk.replaceFile(this.#temporary(), this.#layout.record(copy.domain), bytes)\n',
    replace: '        void bytes\n',
    test: 'service-restart',
    fails: /pain 11/,
  },
  {
    pain: 12,
    way: 'a session for each adapter that comes',
    file: 'src/engine/lane.ts',
    find: '    this.#bank.stage(row, content)\n',
    replace: `    this.#bank.stage(row, content)
    void this.#headRuntime.open(headGraph)
`,
    test: pains,
    fails: /pains 4 and 12/,
  },
  {
    pain: 13,
    way: 'one queue, first come, first served',
    file: 'src/scheduler/scheduler.ts',
    find: 'const entry = new Entry(request, index, domain, item, since)',
    replace: "const entry = new Entry(request, index, domain && 'all', item, since)",
    test: 'scheduler',
    fails: /pain 13/,
  },
  {
    pain: 14,
    way: 'a series for every path that is asked for',
    file: 'src/http/requests.ts',
    find: "  return request.is404 ? '_unmatched' : pattern(request.routeOptions.url)\n",
    replace: '  return request.url\n',
    test: pains,
    fails: /pain 14/,
  },
  {
    pain: 15,
    way: 'who was ready once is ready',
    file: 'src/predict/readiness.ts',
    find: 'this.#provedAt < PROOF_MS)',
    replace: 'this.#provedAt < Number.POSITIVE_INFINITY)',
    test: pains,
    fails: /pain 15/,
  },
]
