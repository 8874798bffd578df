import java.nio.charset.StandardCharsets;
import java.util.HexFormat;
import org.apache.kafka.clients.producer.internals.BuiltInPartitioner;

/** The partition that Java's producer chooses for each key of stdin, in hexadecimal, one a line. */
class Partitions {
    public static void main(String[] arguments) throws Exception {
        int partitions = Integer.parseInt(arguments[0]);
        String keys = new String(System.in.readAllBytes(), StandardCharsets.US_ASCII);
        keys.lines()
            .map(HexFormat.of()::parseHex)
            .forEach(key -> System.out.println(BuiltInPartitioner.partitionForKey(key, partitions)));
    }
}
