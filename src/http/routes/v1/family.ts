/** What is served: the family, how its trunk runs, and the live memory account. */
import type { FastifyInstance } from 'fastify'
import type { AppDeps } from '../../exchange/deps.js'

export function familyRoutes(
  app: FastifyInstance,
  { family, registry, execution }: Pick<AppDeps, 'family' | 'registry' | 'execution'>,
): void {
  app.get('/family', { config: { scope: 'predict' } }, async () => {
    const { name, fingerprint, design, input, features, slots, parameters, files, license, provenance } =
      family.manifest
    const { provider, runtime, precision, lanes, maxBatch, bankDtype } = execution()
    const { trunk, adapters, heads, specialised, rows, dedicated, saving, note } = registry.memory()
    return {
      name,
      fingerprint,
      design,
      input,
      features,
      slots,
      parameters,
      bytes: Object.fromEntries(Object.entries(files).map(([file, entry]) => [file, entry.bytes])),
      license,
      provenance,
      execution: { provider, runtime, precision, lanes, max_batch: maxBatch, bank_dtype: bankDtype },
      memory: {
        trunk_bytes: trunk,
        adapter_bytes: adapters,
        head_bytes: heads,
        specialised,
        rows,
        dedicated_bytes: dedicated,
        saving,
        note,
      },
    }
  })
}
