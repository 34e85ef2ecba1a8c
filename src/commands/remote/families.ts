/** `facet families`: what a running service serves, and the memory that it takes. */
import { Command } from 'commander'
import { table } from '../table.js'
import { clientOf, ending, ofService, type ServiceFlags } from './connect.js'

export function familiesCommand(): Command {
  return ofService(
    new Command('families').description('the families of a running service, and its memory account'),
  )
    .option('--json', "the service's own answer")
    .action((flags: ServiceFlags & { json?: true }, command: Command) =>
      ending(command, async () => {
        const answer = await (await clientOf(flags)).families()
        if (flags.json) {
          process.stdout.write(`${JSON.stringify(answer, null, 2)}\n`)
          return
        }
        const rows = answer.families.map(({ name, design, input, features, execution, memory }) => [
          name,
          design,
          `${input.height} x ${input.width}`,
          String(features),
          `${execution.runtime}, ${execution.precision}`,
          megabytes(memory.trunk_bytes),
          megabytes(memory.adapter_bytes + memory.head_bytes),
          megabytes(memory.dedicated_bytes),
        ])
        const headings = ['family', 'design', 'input', 'features', 'runtime', 'trunk', 'domains', 'dedicated']
        process.stdout.write(`${table([headings, ...rows])}\n`)
      }),
    )
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`
}
