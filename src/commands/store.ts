/** `facet store verify`: checks a data folder that no service is using. */
import { readdir } from 'node:fs/promises'
import { resolve } from 'node:path'
import { Command, Option } from 'commander'
import { naming } from '../host/file-problem.js'
import { SHIPPED_FAMILIES } from '../host/package.js'
import { type Verification, verifyStore } from '../store/verify.js'
import { end } from './ends.js'

/** The command `store` with its sub-commands. `verify` ends with exit code 1 if it finds a problem. */
export function storeCommand(): Command {
  const store = new Command('store').description('check a data folder')
  const verify: Command = store
    .command('verify')
    .description('check every record and every pack of a data folder that no service is using')
    .addOption(
      new Option('--data <dir>', 'the data folder')
        .env('FACET_DATA')
        .default(`./data/${SHIPPED_FAMILIES[0]}`),
    )
    .action(async ({ data }: { data: string }) => {
      const remedy = 'Name the data folder of a service; a service creates it at its first start.'
      const result = await naming('The data folder (--data)', resolve(data), remedy, async () => {
        await readdir(data)
        return verifyStore(data)
      }).catch((error: unknown) => end(verify, error))
      verify.configureOutput().writeOut?.(describe(resolve(data), result))
      if (result.problems.length > 0) {
        verify.error(`error: ${count(result.problems.length, 'problem')} found in ${data}`, { exitCode: 1 })
      }
    })
  return store
}

function describe(
  folder: string,
  { format, domains, versions, blobs, bytes, problems, notes }: Verification,
): string {
  const lines = [
    `checked ${folder}: the checksum of every record, the SHA-256 of every blob, and that every blob named by a record exists`,
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
