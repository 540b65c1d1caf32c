import java.io.PrintStream;
import java.nio.file.Files;
import java.nio.file.Path;
import org.HdrHistogram.Histogram;

/** Writes, for each line of a case file, the percentile distribution that HdrHistogram prints. */
public final class Golden {
    private final Histogram histogram;
    private long state;

    private Golden(Histogram histogram) {
        this.histogram = histogram;
    }

    public static void main(String[] args) throws Exception {
        Path out = Files.createDirectories(Path.of(args[1]));
        for (String line : Files.readAllLines(Path.of(args[0]))) {
            if (line.isBlank() || line.startsWith("#")) continue;
            String[] word = line.trim().split("\\s+");
            Histogram histogram =
                new Histogram(Long.parseLong(word[1]), Long.parseLong(word[2]), Integer.parseInt(word[3]));
            for (int i = 5; i < word.length; i++) new Golden(histogram).run(word[i]);
            try (PrintStream file = new PrintStream(out.resolve(word[0] + ".hgrm").toFile())) {
                histogram.outputPercentileDistribution(file, 5, Double.parseDouble(word[4]));
            }
        }
    }

    private void run(String operation) {
        String[] word = operation.split("[=,*]");
        long[] n = new long[word.length];
        for (int i = 1; i < word.length; i++) n[i] = Long.parseLong(word[i]);
        switch (word[0]) {
            case "at" -> record(n[1], n[2]);
            case "uniform" -> {
                state = n[1];
                for (long i = 0; i < n[2]; i++) record(Long.remainderUnsigned(splitmix64(), n[3]), 1);
            }
            case "lognormal" -> {
                state = n[1];
                for (long i = 0; i < n[2]; i++) record(lognormal(splitmix64()), 1);
            }
            case "edges" -> {
                for (int k = 0; k < 62; k++)
                    for (long value = (1L << k) - 1; value <= (1L << k) + 1; value++)
                        if (value <= n[1]) record(value, 1);
            }
            default -> throw new IllegalArgumentException(operation);
        }
    }

    private void record(long value, long count) {
        try {
            histogram.recordValueWithCount(value, count);
        } catch (ArrayIndexOutOfBoundsException beyond) {
            histogram.recordValueWithCount(histogram.getHighestTrackableValue(), count);
        }
    }

    /** A binomial number of octaves, and a uniform place within the octave. */
    private static long lognormal(long random) {
        int octave = Long.bitCount(random & 0xffff_ffffL);
        return (1L << octave) + (random >>> 32) % (1L << octave);
    }

    private long splitmix64() {
        long z = state += 0x9e3779b97f4a7c15L;
        z = (z ^ (z >>> 30)) * 0xbf58476d1ce4e5b9L;
        z = (z ^ (z >>> 27)) * 0x94d049bb133111ebL;
        return z ^ (z >>> 31);
    }
}
