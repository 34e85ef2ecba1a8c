/** `facet store verify`: checks a data folder at rest. */
import { Command, Option } from 'commander'
import { FacetError } from '../errors.js'
import { type Verification, verifyStore } from '../store/verify.js'

/** The command `store` with its sub-commands. Ends with exit code 1 where something is wrong. */
export function storeCommand(): Command {
  const store = new Command('store').description('look after a data folder')
  const verify: Command = store
    .command('verify')
    .description('check every record and every pack of a data folder that no service is using')
    .addOption(new Option('--data <dir>', 'the data folder').env('FACET_DATA').default('./data'))
    .action(async ({ data }: { data: string }) => {
      const result = await verifyStore(data).catch((error: unknown) => {
        if (!(error instanceof FacetError)) throw error
        return verify.error(`error: ${error.message}`, { exitCode: 1 })
      })
      verify.configureOutput().writeOut?.(describe(result))
      if (result.problems.length > 0) {
        verify.error(`error: ${count(result.problems.length, 'problem')} found in ${data}`, { exitCode: 1 })
      }
    })
  return store
}

function describe({ format, domains, versions, blobs, bytes, problems, notes }: Verification): string {
  const lines = [
    `format ${format}: ${count(domains, 'domain')}, ${count(versions, 'version')}, ${count(blobs, 'blob')}, ${bytes} bytes`,
    ...notes.map((note) => `note: ${note}`),
    ...problems.map(({ message }) => `problem: ${message}`),
    ...(problems.length === 0 ? ['everything is intact'] : []),
  ]
  return `${lines.join('\n')}\n`
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`
}
